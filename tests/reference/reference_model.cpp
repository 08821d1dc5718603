#include "reference/reference_model.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <utility>

namespace lathe::test {
namespace {

using arch::Architecture;
using arch::PositionKind;
using Row = std::vector<double>;

class Pass {
 public:
  Pass(const Architecture& a, const NamedFloats& weights, std::uint32_t context, std::size_t int8_group)
      : a_(a), weights_(weights), context_(context), int8_group_(int8_group) {}

  void set_far_window(std::size_t window) { far_window_ = window; }

  // The final norm's output for a source text.
  std::vector<Row> encode(std::span<const std::int32_t> ids) {
    side_ = "enc.", sees_all_ = true;
    std::vector<Row> x = embed(ids, a_.encoder.vocab_size > 0 ? "enc.token_embd.weight" : "token_embd.weight");
    for (std::uint32_t layer = 0; layer < a_.encoder.n_layers; ++layer) {
      prefix_ = "enc.blk." + std::to_string(layer) + ".";
      attention_block(x);
      for (Row& row : x) feed_forward_block(row, row);
    }
    prefix_.clear();
    for (Row& row : x) row = normalized(row, "enc.output_norm");
    return x;
  }

  ReferenceResult run(std::span<const std::int32_t> ids, const std::vector<Row>* source = nullptr) {
    side_ = source ? "dec." : "", sees_all_ = !a_.causal;
    ReferenceResult result;
    result.rows = ids.size();
    std::vector<Row> x = embed(ids, "token_embd.weight");
    for (std::uint32_t layer = 0; layer < a_.n_layers; ++layer) {
      prefix_ = side_ + "blk." + std::to_string(layer) + ".";
      enter_layer(layer);
      const std::vector<Row> before = x;
      attention_block(x);
      if (source) cross_attention_block(x, *source);
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Row from = a_.parallel_block ? before[t] : x[t];
        feed_forward_block(x[t], from);
      }
      result.layers.emplace_back();
      for (const Row& row : x) append(result.layers.back(), row);
    }
    prefix_.clear();
    for (const Row& row : x) {
      const Row hidden = a_.stream_norms ? row : normalized(row, side_ + "output_norm");
      append(result.hidden, hidden);
      if (!a_.output_head) continue;
      Row logits = product(a_.tied_embeddings ? "token_embd" : "output", hidden, a_.vocab_size, a_.head_bias);
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

  // What layers differ in: the window, and with it perhaps the rotation.
  void enter_layer(std::uint32_t layer) {
    window_ = layer < a_.full_layers.size() && a_.full_layers[layer] ? 0 : a_.window;
    rope_ = a_;
    if (window_ > 0 && a_.window_rope_theta > 0) {
      rope_.rope_theta = a_.window_rope_theta;
      rope_.rope_scaling = {};
    }
    experts_ = a_.moe.n_experts > 0 && layer >= a_.moe.first_dense_layers;
  }

  std::vector<Row> embed(std::span<const std::int32_t> ids, const char* table) const {
    std::vector<Row> x;
    const std::size_t width = a_.width;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const float* row = weight(table).data() + static_cast<std::size_t>(ids[t]) * width;
      x.emplace_back(row, row + width);
      for (double& value : x.back()) value *= a_.embedding_scale;
      if (a_.position == PositionKind::kLearned) {
        const float* place = weight("position_embd.weight").data() + (t + a_.position_offset) * width;
        for (std::size_t i = 0; i < width; ++i) x.back()[i] += place[i];
      }
      if (a_.position == PositionKind::kSinusoidal) {
        // Vaswani et al. 2017, section 3.5, with all sines first; the last wavelength is 10000 times the first.
        const std::size_t half = width / 2;
        for (std::size_t i = 0; i < half; ++i) {
          const double angle = double(t + a_.position_offset) / std::pow(10000.0, double(i) / double(half - 1));
          x.back()[i] += std::sin(angle);
          x.back()[half + i] += std::cos(angle);
        }
      }
      for (std::size_t i = 0; i < width && a_.token_types > 0; ++i) x.back()[i] += weight("token_types.weight")[i];
      if (a_.embedding_norm) x.back() = normalized(x.back(), "token_embd_norm");
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
  void rotate(double* head, double t) const {
    const std::uint32_t pairs = a_.rotary_dim / 2;
    const double magnitude = reference_rope_magnitude(rope_);
    for (std::uint32_t i = 0; i < pairs; ++i) {
      double& re = a_.rope_layout == RopeLayout::kHalves ? head[i] : head[2 * i];
      double& im = a_.rope_layout == RopeLayout::kHalves ? head[i + pairs] : head[2 * i + 1];
      const std::complex<double> turned =
          std::complex(re, im) * std::polar(magnitude, t * reference_rope_frequency(rope_, i, context_));
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
    std::vector<Row> q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Row in = a_.stream_norms ? x[t] : normalized(x[t], "attn_norm");
      if (a_.mla.kv_rank > 0) {
        latent_heads(in, t, q, k, v);
      } else {
        plain_heads(in, t, q, k, v);
      }
    }
    const std::uint32_t group = a_.mla.kv_rank > 0 ? 1 : a_.n_heads / a_.n_kv_heads;
    for (std::size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (std::uint32_t h = 0; h < a_.n_heads; ++h) append(mixed, attend(q[t], k, v, h, h / group, t));
      if (a_.sub_norms) mixed = normalized(mixed, "attn_sub_norm");
      join(x[t], product("attn_output", mixed, a_.width, a_.output_bias), "post_attention_norm");
      if (a_.stream_norms) x[t] = normalized(x[t], "attn_output_norm");
    }
  }

  void cross_attention_block(std::vector<Row>& x, const std::vector<Row>& source) const {
    const std::uint32_t group = a_.n_heads / a_.n_kv_heads;
    std::vector<Row> k, v;
    for (const Row& row : source) {
      k.push_back(product("cross_attn_k", row, a_.n_kv_heads * a_.head_dim, a_.attention_bias));
      v.push_back(product("cross_attn_v", row, a_.n_kv_heads * a_.v_head_dim, a_.attention_bias));
    }
    for (Row& row : x) {
      const Row q =
          product("cross_attn_q", normalized(row, "cross_attn_norm"), a_.n_heads * a_.head_dim, a_.attention_bias);
      Row mixed;
      for (std::uint32_t h = 0; h < a_.n_heads; ++h) {
        Row p;
        double sum = 0;
        for (const Row& key : k) {
          double score = 0;
          for (std::uint32_t d = 0; d < a_.head_dim; ++d)
            score += q[h * a_.head_dim + d] * key[h / group * a_.head_dim + d];
          p.push_back(std::exp(score * (a_.attention_scale > 0 ? a_.attention_scale : 1 / std::sqrt(a_.head_dim))));
          sum += p.back();
        }
        for (std::uint32_t d = 0; d < a_.v_head_dim; ++d) {
          mixed.push_back(0);
          for (std::size_t s = 0; s < v.size(); ++s) mixed.back() += p[s] / sum * v[s][h / group * a_.v_head_dim + d];
        }
      }
      join(row, product("cross_attn_output", mixed, a_.width, a_.output_bias), "");
    }
  }

  // T5's bias of the key at s for the query at t (Raffel et al. 2020, section 2.1, and the paper's code as described
  // there): halves of the buckets are single distances, the others grow by a constant factor up to the largest
  // distance.
  double relative_bias(std::uint32_t h, std::size_t t, std::size_t s) const {
    const std::string prefix = side_ + "blk.0.attn_rel_b.weight";
    const std::vector<float>& table = weights_.find(prefix)->second;
    std::size_t buckets = a_.relative.buckets, first = 0, away = t > s ? t - s : 0;
    if (sees_all_) {
      buckets /= 2;
      if (s > t) first = buckets, away = s - t;
    }
    const std::size_t exact = buckets / 2;
    std::size_t bucket = away;
    if (away >= exact) {
      // The largest bucket whose beginning is not beyond.
      bucket = exact;
      while (bucket + 1 < buckets && double(exact) * std::pow(double(a_.relative.max_distance) / double(exact),
                                                              double(bucket + 1 - exact) / double(buckets - exact)) <=
                                         double(away) * (1 + 1e-9))
        ++bucket;
    }
    return table[(first + bucket) * a_.n_heads + h];
  }

  void plain_heads(const Row& in, std::size_t t, std::vector<Row>& q, std::vector<Row>& k, std::vector<Row>& v) const {
    const std::uint32_t q_width = a_.n_heads * a_.head_dim, k_width = a_.n_kv_heads * a_.head_dim,
                        v_width = a_.n_kv_heads * a_.v_head_dim;
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

  // DeepSeek-V2, equations 37 to 46, written out: every head has keys and values of its own, made of the latent; the
  // rotated part of a key is the same for all heads.
  void latent_heads(const Row& in, std::size_t t, std::vector<Row>& q, std::vector<Row>& k, std::vector<Row>& v) const {
    const std::size_t rank = a_.mla.kv_rank, rotated = a_.rotary_dim, plain = a_.head_dim - rotated;
    if (a_.mla.q_rank > 0) {
      Row low = product("attn_q_a", in, a_.mla.q_rank, a_.attention_bias);
      rms_normalize(low.data(), low.size(), weight("attn_q_a_norm.weight"));
      q.push_back(product("attn_q_b", low, a_.n_heads * a_.head_dim, false));
    } else {
      q.push_back(product("attn_q", in, a_.n_heads * a_.head_dim, false));
    }
    for (std::uint32_t h = 0; h < a_.n_heads; ++h) rotate(q.back().data() + h * a_.head_dim + plain, t);
    Row latent = product("attn_kv_a_mqa", in, rank + rotated, a_.attention_bias);
    Row shared(latent.begin() + static_cast<std::ptrdiff_t>(rank), latent.end());
    latent.resize(rank);
    rms_normalize(latent.data(), rank, weight("attn_kv_a_norm.weight"));
    rotate(shared.data(), t);
    k.emplace_back(), v.emplace_back();
    for (std::uint32_t h = 0; h < a_.n_heads; ++h) {
      const std::vector<float>& to_key = weight("attn_k_b." + std::to_string(h) + ".weight");  // [rank, plain]
      for (std::size_t i = 0; i < plain; ++i) {
        k.back().push_back(0);
        for (std::size_t r = 0; r < rank; ++r) k.back().back() += double{to_key[r * plain + i]} * latent[r];
      }
      append(k.back(), shared);
      append(v.back(), product("attn_v_b." + std::to_string(h), latent, a_.v_head_dim, false));
    }
  }

  // Softmax of the scaled scores over the visible past, then the weighted values.
  Row attend(const Row& q, const std::vector<Row>& k, const std::vector<Row>& v, std::uint32_t h, std::uint32_t kv,
             std::size_t t) const {
    const double scale = a_.attention_scale > 0 ? a_.attention_scale : 1 / std::sqrt(double(a_.head_dim));
    const std::size_t from = window_ > 0 && t + 1 > window_ ? t + 1 - window_ : 0;
    const std::size_t to = sees_all_ ? k.size() : t + 1;
    Row p;
    double sum = a_.attention_sinks ? std::exp(double{weight("attn_sinks.weight")[h]}) : 0;
    for (std::size_t s = from; s < to; ++s) {
      Row turned(q.begin() + std::ptrdiff_t(h) * a_.head_dim, q.begin() + std::ptrdiff_t(h + 1) * a_.head_dim);
      if (far_window_ > 0 && t - s >= far_window_) rotate(turned.data(), double(far_window_) - 1 - double(t - s));
      double score = 0;
      for (std::uint32_t d = 0; d < a_.head_dim; ++d) score += turned[d] * k[s][kv * a_.head_dim + d];
      score *= scale;
      if (a_.attention_softcap > 0) score = a_.attention_softcap * std::tanh(score / a_.attention_softcap);
      if (a_.position == PositionKind::kAlibi) score -= alibi_slope(h) * double(t - s);
      if (a_.position == PositionKind::kRelative) score += relative_bias(h, t, s);
      p.push_back(std::exp(score));
      sum += p.back();
    }
    Row out(a_.v_head_dim);
    for (std::size_t s = from; s < to; ++s) {
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

  void feed_forward_block(Row& x, const Row& from) const {
    const Row in = a_.stream_norms ? from : normalized(from, a_.ffn_norm ? "ffn_norm" : "attn_norm");
    join(x, experts_ ? mixture(in) : feed_forward("ffn_", "", in, a_.ffn_width, a_.ffn_bias), "post_ffw_norm");
    if (a_.stream_norms) x = normalized(x, "layer_output_norm");
  }

  // The names are <prefix>gate<suffix>, <prefix>up<suffix>, <prefix>down<suffix>.
  Row feed_forward(const std::string& prefix, const std::string& suffix, const Row& in, std::uint64_t width,
                   bool bias) const {
    Row gate, up;
    if (a_.fused_gate_up && suffix.empty()) {
      const Row both = product(prefix + "up", in, 2 * width, bias);
      gate.assign(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(width));
      up.assign(both.begin() + static_cast<std::ptrdiff_t>(width), both.end());
    } else {
      up = product(prefix + "up" + suffix, in, width, bias);
      if (a_.gated_ffn) gate = product(prefix + "gate" + suffix, in, width, bias);
    }
    for (std::size_t i = 0; i < up.size(); ++i) {
      if (a_.activation_limit > 0) {
        const double limit = a_.activation_limit, g = std::min(gate[i], limit);
        up[i] = (std::clamp(up[i], -limit, limit) + 1) * g / (1 + std::exp(-1.702 * g));
      } else if (a_.gated_ffn) {
        up[i] *= reference_activation(a_.activation, gate[i]);
      } else {
        up[i] = reference_activation(a_.activation, up[i]);
      }
    }
    if (a_.sub_norms) up = normalized(up, "ffn_sub_norm");
    return product(prefix + "down" + suffix, up, a_.width, bias);
  }

  Row mixture(const Row& in) const {
    const arch::MixtureOfExperts& moe = a_.moe;
    const Row logits = product("ffn_gate_inp", in, moe.n_experts, moe.router_bias);
    Row out(a_.width);
    for (const auto& [expert, share] : chosen(logits)) {
      const Row part = feed_forward("ffn_", "." + std::to_string(expert), in, moe.ffn_width, moe.expert_bias);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += share * part[i];
    }
    if (moe.shared_ffn_width > 0) {
      const Row part = feed_forward("ffn_", "_shexp", in, moe.shared_ffn_width, false);
      double share = 1;
      if (moe.shared_gate) share = 1 / (1 + std::exp(-product("ffn_gate_inp_shexp", in, 1, false)[0]));
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += share * part[i];
    }
    return out;
  }

  // Expert and weight, by sorting whole lists.
  std::vector<std::pair<std::size_t, double>> chosen(const Row& logits) const {
    const arch::MixtureOfExperts& moe = a_.moe;
    Row score(logits.size()), rank(logits.size());
    double total = 0;
    for (const double logit : logits) total += std::exp(logit);
    for (std::size_t e = 0; e < logits.size(); ++e) {
      if (moe.score == RouterScore::kSoftmax) score[e] = std::exp(logits[e]) / total;
      if (moe.score == RouterScore::kSigmoid) score[e] = 1 / (1 + std::exp(-logits[e]));
      if (moe.score == RouterScore::kSoftmaxOfChosen) score[e] = std::exp(logits[e]);  // divided by their sum below
      rank[e] = score[e] + (moe.correction_bias ? double{weight("exp_probs_b.bias")[e]} : 0.0);
    }
    const std::size_t size = logits.size() / moe.n_groups;
    std::vector<std::pair<double, std::size_t>> groups;
    for (std::size_t g = 0; g < moe.n_groups; ++g) {
      Row members(rank.begin() + static_cast<std::ptrdiff_t>(g * size),
                  rank.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
      std::sort(members.rbegin(), members.rend());
      groups.emplace_back(moe.correction_bias && size > 1 ? -(members[0] + members[1]) : -members[0], g);
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t g = 0; g < moe.top_groups; ++g) {
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t e = groups[g].second * size + i;
        order.emplace_back(-rank[e], e);
      }
    }
    std::sort(order.begin(), order.end());
    double sum = 0;
    for (std::size_t i = 0; i < moe.top_k; ++i) sum += score[order[i].second];
    const bool share = moe.normalize || moe.score == RouterScore::kSoftmaxOfChosen;
    std::vector<std::pair<std::size_t, double>> result;
    for (std::size_t i = 0; i < moe.top_k; ++i) {
      const std::size_t e = order[i].second;
      result.emplace_back(e, moe.scale * score[e] / (share ? sum : 1));
    }
    return result;
  }

  void join(Row& x, Row branch, const std::string& post_norm) const {
    if (a_.post_norms) branch = normalized(branch, post_norm);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += a_.residual_scale * branch[i];
  }

  const Architecture& a_;
  const NamedFloats& weights_;
  std::uint32_t context_;
  std::size_t int8_group_;
  std::size_t far_window_ = 0;
  std::string prefix_, side_;
  bool sees_all_ = false;
  std::uint32_t window_ = 0;
  Architecture rope_;  // how this layer rotates
  bool experts_ = false;
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
                                  std::span<const std::int32_t> ids, std::uint32_t context, std::size_t int8_group,
                                  std::size_t far_window) {
  Pass pass(architecture, weights, context, int8_group);
  pass.set_far_window(far_window);
  return pass.run(ids);
}

ReferenceResult reference_translation(const arch::Architecture& architecture, const NamedFloats& weights,
                                      std::span<const std::int32_t> source, std::span<const std::int32_t> target) {
  Pass pass(architecture, weights, 0, 0);
  const std::vector<Row> encoded = pass.encode(source);
  ReferenceResult result = pass.run(target, &encoded);
  for (const Row& row : encoded) result.encoded.insert(result.encoded.end(), row.begin(), row.end());
  return result;
}

}  // namespace lathe::test
