#include "reference/reference_model.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <stdexcept>

namespace lathe::test {
namespace {

using arch::Architecture;
using arch::PositionKind;
using Row = std::vector<double>;

class Pass {
 public:
  Pass(const Architecture& a, const NamedFloats& weights, std::uint32_t context, std::size_t int8_group)
      : a_(a), weights_(weights), context_(context), int8_group_(int8_group) {}

  ReferenceResult run(std::span<const std::int32_t> ids) {
    ReferenceResult result;
    result.rows = ids.size();
    std::vector<Row> x = embed(ids);
    for (std::uint32_t layer = 0; layer < a_.n_layers; ++layer) {
      prefix_ = "blk." + std::to_string(layer) + ".";
      attention_block(x);
      for (Row& row : x) feed_forward_block(row);
      result.layers.emplace_back();
      for (const Row& row : x) append(result.layers.back(), row);
    }
    prefix_.clear();
    for (const Row& row : x) {
      const Row hidden = normalized(row, "output_norm");
      append(result.hidden, hidden);
      Row logits = product(a_.tied_embeddings ? "token_embd" : "output", hidden, a_.vocab_size, false);
      for (double& logit : logits) {
        logit *= a_.logit_scale;
        if (a_.logit_softcap > 0) logit = a_.logit_softcap * std::tanh(logit / a_.logit_softcap);
      }
      append(result.logits, logits);
    }
    return result;
  }

 private:
  static void append(std::vector<double>& all, const Row& row) { all.insert(all.end(), row.begin(), row.end()); }

  const std::vector<float>& weight(std::string_view name) const {
    const auto it = weights_.find(prefix_ + std::string(name));
    if (it == weights_.end()) throw std::runtime_error("no weight " + prefix_ + std::string(name));
    return it->second;
  }

  std::vector<Row> embed(std::span<const std::int32_t> ids) const {
    std::vector<Row> x;
    const std::size_t width = a_.width;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const float* row = weight("token_embd.weight").data() + static_cast<std::size_t>(ids[t]) * width;
      x.emplace_back(row, row + width);
      for (double& value : x.back()) value *= a_.embedding_scale;
      if (a_.position != PositionKind::kLearned) continue;
      const float* place = weight("position_embd.weight").data() + t * width;
      for (std::size_t i = 0; i < width; ++i) x.back()[i] += place[i];
    }
    return x;
  }

  // W x + b
  Row product(const std::string& name, Row x, std::uint64_t out, bool bias) const {
    if (int8_group_ > 0) round_to_int8(x);
    const std::vector<float>& w = weight(name + ".weight");
    Row y(out);
    if (bias) y.assign(weight(name + ".bias").begin(), weight(name + ".bias").end());
    for (std::uint64_t o = 0; o < out; ++o) {
      for (std::size_t i = 0; i < x.size(); ++i) y[o] += double{w[o * x.size() + i]} * x[i];
    }
    return y;
  }

  void round_to_int8(Row& x) const {
    for (std::size_t begin = 0; begin < x.size(); begin += int8_group_) {
      const std::size_t end = std::min(begin + int8_group_, x.size());
      double largest = 0;
      for (std::size_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
      if (largest == 0) continue;
      for (std::size_t i = begin; i < end; ++i) x[i] = std::round(x[i] / largest * 127) * largest / 127;
    }
  }

  void rms_normalize(double* x, std::size_t n, const std::vector<float>& gain) const {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += x[i] * x[i];
    const double rms = std::sqrt(squares / double(n) + a_.norm_eps);
    for (std::size_t i = 0; i < n; ++i) x[i] = x[i] / rms * gain[i];
  }

  Row normalized(Row x, const std::string& name) const {
    const std::vector<float>& gain = weight(name + ".weight");
    if (a_.norm == NormKind::kRms) {
      rms_normalize(x.data(), x.size(), gain);
    } else {
      double mean = 0, variance = 0;
      for (const double value : x) mean += value / double(x.size());
      for (const double value : x) variance += (value - mean) * (value - mean) / double(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - mean) / std::sqrt(variance + a_.norm_eps) * gain[i];
    }
    if (a_.norm_bias) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += weight(name + ".bias")[i];
    }
    return x;
  }

  // One head at position t: each pair of elements is a complex number, turned by t times its frequency.
  void rotate(double* head, std::size_t t) const {
    const std::uint32_t pairs = a_.rotary_dim / 2;
    const double magnitude = reference_rope_magnitude(a_);
    for (std::uint32_t i = 0; i < pairs; ++i) {
      double& re = a_.rope_layout == RopeLayout::kHalves ? head[i] : head[2 * i];
      double& im = a_.rope_layout == RopeLayout::kHalves ? head[i + pairs] : head[2 * i + 1];
      const std::complex<double> turned =
          std::complex(re, im) * std::polar(magnitude, double(t) * reference_rope_frequency(a_, i, context_));
      re = turned.real(), im = turned.imag();
    }
  }

  void prepare_heads(Row& heads, std::uint32_t count, const std::string& norm, std::size_t t) const {
    for (std::uint32_t h = 0; h < count; ++h) {
      double* head = heads.data() + std::size_t{h} * a_.head_dim;
      if (a_.qk_norm) rms_normalize(head, a_.head_dim, weight(norm));
      if (a_.position == PositionKind::kRope) rotate(head, t);
    }
  }

  void attention_block(std::vector<Row>& x) const {
    const std::uint32_t q_width = a_.n_heads * a_.head_dim, k_width = a_.n_kv_heads * a_.head_dim,
                        v_width = a_.n_kv_heads * a_.v_head_dim;
    std::vector<Row> q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Row in = normalized(x[t], "attn_norm");
      if (a_.fused_qkv) {
        const Row all = product("attn_qkv", in, q_width + k_width + v_width, a_.attention_bias);
        q.emplace_back(all.begin(), all.begin() + q_width);
        k.emplace_back(all.begin() + q_width, all.begin() + q_width + k_width);
        v.emplace_back(all.begin() + q_width + k_width, all.end());
      } else {
        q.push_back(product("attn_q", in, q_width, a_.attention_bias));
        k.push_back(product("attn_k", in, k_width, a_.attention_bias));
        v.push_back(product("attn_v", in, v_width, a_.attention_bias));
      }
      prepare_heads(q.back(), a_.n_heads, "attn_q_norm.weight", t);
      prepare_heads(k.back(), a_.n_kv_heads, "attn_k_norm.weight", t);
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (std::uint32_t h = 0; h < a_.n_heads; ++h) append(mixed, attend(q[t], k, v, h, t));
      join(x[t], product("attn_output", mixed, a_.width, a_.output_bias));
    }
  }

  // Softmax of the scaled scores over the visible past, then the weighted values.
  Row attend(const Row& q, const std::vector<Row>& k, const std::vector<Row>& v, std::uint32_t h, std::size_t t) const {
    const std::uint32_t kv = h / (a_.n_heads / a_.n_kv_heads);
    const double scale = a_.attention_scale > 0 ? a_.attention_scale : 1 / std::sqrt(double(a_.head_dim));
    const std::size_t from = a_.window > 0 && t + 1 > a_.window ? t + 1 - a_.window : 0;
    Row p;
    double sum = 0;
    for (std::size_t s = from; s <= t; ++s) {
      double score = 0;
      for (std::uint32_t d = 0; d < a_.head_dim; ++d) score += q[h * a_.head_dim + d] * k[s][kv * a_.head_dim + d];
      score *= scale;
      if (a_.attention_softcap > 0) score = a_.attention_softcap * std::tanh(score / a_.attention_softcap);
      if (a_.position == PositionKind::kAlibi) score -= alibi_slope(h) * double(t - s);
      p.push_back(std::exp(score));
      sum += p.back();
    }
    Row out(a_.v_head_dim);
    for (std::size_t s = from; s <= t; ++s) {
      for (std::uint32_t d = 0; d < a_.v_head_dim; ++d) out[d] += p[s - from] / sum * v[s][kv * a_.v_head_dim + d];
    }
    return out;
  }

  // A geometric sequence that starts at, and multiplies by, 2^(-8/n); for other head counts, every second one of the
  // next power of two fills up.
  double alibi_slope(std::uint32_t h) const {
    std::uint32_t n = 1;
    while (2 * n <= a_.n_heads) n *= 2;
    double step = std::pow(0.5, 8.0 / n);
    if (h < n) return std::pow(step, h + 1);
    step = std::sqrt(step);
    return std::pow(step, 2 * (h - n) + 1);
  }

  void feed_forward_block(Row& x) const {
    const Row in = normalized(x, "ffn_norm");
    Row up = product("ffn_up", in, a_.ffn_width, a_.ffn_bias);
    if (a_.gated_ffn) {
      const Row gate = product("ffn_gate", in, a_.ffn_width, a_.ffn_bias);
      for (std::size_t i = 0; i < up.size(); ++i) up[i] *= reference_activation(a_.activation, gate[i]);
    } else {
      for (double& value : up) value = reference_activation(a_.activation, value);
    }
    join(x, product("ffn_down", up, a_.width, a_.ffn_bias));
  }

  void join(Row& x, const Row& branch) const {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += a_.residual_scale * branch[i];
  }

  const Architecture& a_;
  const NamedFloats& weights_;
  std::uint32_t context_;
  std::size_t int8_group_;
  std::string prefix_;
};

}  // namespace

double reference_activation(ActivationKind kind, double x) {
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  switch (kind) {
    case ActivationKind::kSilu:
      return x * sigmoid(x);
    case ActivationKind::kGelu:
      return x * std::erfc(-x / std::numbers::sqrt2) / 2;
    case ActivationKind::kGeluTanh:  // (1 + tanh z) / 2 is sigmoid(2 z)
      return x * sigmoid(2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x));
    case ActivationKind::kGeluQuick:
      return x * sigmoid(1.702 * x);
    case ActivationKind::kRelu:
      return std::fmax(x, 0);
    case ActivationKind::kRelu2:
      return std::fmax(x, 0) * std::fmax(x, 0);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

ReferenceResult reference_forward(const Architecture& architecture, const NamedFloats& weights,
                                  std::span<const std::int32_t> ids, std::uint32_t context, std::size_t int8_group) {
  return Pass(architecture, weights, context, int8_group).run(ids);
}

}  // namespace lathe::test
