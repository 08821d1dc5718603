#include "reference/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace lathe::test {
namespace {

// Norm gains near 1, small biases, matrices that keep the variance of what they multiply.
std::vector<float> values_for(const arch::WeightSpec& spec, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const bool bias = spec.name.ends_with(".bias"), vector = spec.shape.rank() == 1;
  const bool table = spec.name.starts_with("token_embd") || spec.name.starts_with("position_embd");
  const double center = vector && !bias ? 1 : 0;
  const double spread = vector ? 0.1 : table ? 0.5 : 1 / std::sqrt(double(spec.shape.cols()));
  std::vector<float> values(spec.shape.elements());
  for (float& value : values) value = static_cast<float>(center + spread * normal(random));
  return values;
}

}  // namespace

arch::Architecture tiny_llama() {
  arch::Architecture a;
  a.family = "llama";
  a.n_layers = 2;
  a.width = 64;
  a.n_heads = 4, a.n_kv_heads = 2;
  a.head_dim = a.v_head_dim = a.rotary_dim = 16;
  a.ffn_width = 128;
  a.vocab_size = 96;
  a.context_length = 256;
  return a;
}

arch::Architecture tiny_gpt2() {
  arch::Architecture a = tiny_llama();
  a.family = "gpt2";
  a.norm = NormKind::kLayer;
  a.position = arch::PositionKind::kLearned;
  a.n_kv_heads = 4;
  a.activation = ActivationKind::kGeluTanh;
  a.gated_ffn = false;
  a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  a.tied_embeddings = true;
  return a;
}

TinyModel make_tiny_model(const arch::Architecture& architecture, std::string_view codec, std::uint64_t seed) {
  TinyModel tiny{architecture, {}, {}};
  std::mt19937_64 random(seed);
  for (const arch::WeightSpec& spec : arch::weight_schema(architecture)) {
    const Codec& wanted = codec_named(codec);
    const BlockFormat* format = block_format(wanted);
    const bool fits = spec.shape.rank() == 2 && (format == nullptr || spec.shape.cols() % format->block_size == 0);
    tiny.weights.add(pack(spec.name, fits ? wanted : codec_named("F32"), spec.shape, values_for(spec, random),
                          format == nullptr ? wanted.usual_params() : CodecParams{}));
  }
  tiny.decoded = decode(tiny.weights);
  return tiny;
}

NamedFloats decode(const arch::Weights& weights) {
  NamedFloats decoded;
  for (const auto& [name, tensor] : weights.all()) decoded[name] = tensor.to_floats();
  return decoded;
}

std::vector<std::int32_t> random_ids(std::size_t count, std::uint32_t vocab, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % vocab);
  return ids;
}

namespace {

kernels::KvLayout layout_of(const model::Model& model, const ExecutorOptions& options) {
  const arch::StateGroup& group = model.op_list().state.front();
  return {options.kv, group.n_kv_heads, group.k_dim, group.v_dim, options.block_tokens};
}

}  // namespace

Executor::Executor(const arch::Architecture& architecture, const arch::Weights& weights,
                   std::shared_ptr<kernels::Backend> backend, const ExecutorOptions& options)
    : model_(std::make_shared<model::Model>(architecture, weights, backend)),
      forward_(model_, options.max_rows, options.context),
      encoder_(model_->encoder() == nullptr
                   ? nullptr
                   : std::make_unique<model::ForwardContext>(model_->encoder(), options.max_rows, options.context)),
      pool_(backend, layout_of(*model_, options), model_->state_layers(), options.kv_bytes),
      policy_(cache::kv_policy_named(options.policy)) {}

std::unique_ptr<cache::PagedKv> Executor::sequence(std::vector<cache::BlockRef> prefix) {
  return std::make_unique<cache::PagedKv>(pool_, policy_, std::move(prefix));
}

std::vector<float> Executor::logits(cache::PagedKv& state, std::span<const std::int32_t> ids, std::size_t chunk,
                                    std::span<const model::Adapter* const> adapters, const model::SourceState* source) {
  std::vector<float> all;
  for (; !ids.empty(); ids = ids.subspan(std::min(chunk, ids.size()))) {
    const model::Segment segment{ids.first(std::min(chunk, ids.size()))};
    const model::SequenceInput input{&state, {&segment, 1}, model::Want::kAll, adapters, source};
    forward_.forward({&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      all.insert(all.end(), row.begin(), row.end());
    });
  }
  return all;
}

std::vector<float> Executor::logits(std::span<const std::int32_t> ids, std::size_t chunk) {
  const auto state = sequence();
  return logits(*state, ids, chunk);
}

std::vector<std::shared_ptr<const cache::SourceKv>> Executor::encode(
    const std::vector<std::vector<std::int32_t>>& texts) {
  std::vector<std::unique_ptr<cache::PagedKv>> states;
  std::vector<model::Segment> segments;
  for (const auto& text : texts) {
    states.push_back(std::make_unique<cache::PagedKv>(pool_, cache::full_policy()));
    segments.push_back({text});
  }
  std::vector<model::SequenceInput> inputs;
  for (std::size_t i = 0; i < texts.size(); ++i)
    inputs.push_back({states[i].get(), {&segments[i], 1}, model::Want::kNothing});
  encoder_->forward(inputs, {}, [](std::size_t, std::uint64_t, std::span<const float>) {});
  std::vector<std::shared_ptr<const cache::SourceKv>> sources;
  for (auto& state : states) sources.push_back(std::make_shared<cache::SourceKv>(std::move(state)));
  return sources;
}

std::shared_ptr<kernels::Backend> cpu(int threads, std::string kernel) {
  return kernels::make_cpu_backend({threads, std::move(kernel)});
}

double relative_error(std::span<const float> a, std::span<const double> b) {
  if (a.size() != b.size() || a.empty()) return std::numeric_limits<double>::infinity();
  double mean = 0, range = 0, worst = 0;
  for (const double value : b) mean += value / double(b.size());
  for (const double value : b) range = std::max(range, std::abs(value - mean));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(a[i] - b[i]);
    worst = error > worst || std::isnan(error) ? error : worst;
    if (std::isnan(worst)) break;
  }
  return std::isnan(worst) ? std::numeric_limits<double>::infinity() : worst / range;
}

}  // namespace lathe::test
