#include "formats/gguf_architecture.h"

#include <algorithm>
#include <cmath>

#include "arch/families.h"
#include "arch/rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using arch::PositionKind;
using Scaling = arch::RopeScaling;

constexpr std::string_view kRopeFreqs = "rope_freqs.weight", kRopeShort = "rope_factors_short.weight",
                           kRopeLong = "rope_factors_long.weight";

// The keys of one model: "<arch>.<name>".
class Keys {
 public:
  Keys(const Metadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}
  const std::string& file() const { return metadata_.file(); }
  std::string full(std::string_view name) const { return fmt::format("{}.{}", prefix_, name); }

  // Scalars, or arrays with one value per layer: all must agree, since layers are alike here.
  std::optional<std::uint32_t> size(std::string_view name) const {
    const std::string key = full(name);
    const auto values = metadata_.integers(key);
    if (!values) return std::nullopt;
    if (values->empty()) fail(file(), "metadata key \"{}\" is an empty array", key);
    if (std::adjacent_find(values->begin(), values->end(), std::not_equal_to<>()) != values->end()) {
      fail(file(), "metadata key \"{}\" differs from layer to layer, which is not supported", key);
    }
    return narrow<std::uint32_t>(values->front(), fmt::format("metadata key \"{}\"", key), file());
  }
  std::uint32_t need(std::string_view name) const {
    if (const auto value = size(name)) return *value;
    fail(file(), "metadata key \"{}\" is missing", full(name));
  }
  std::optional<float> number(std::string_view name) const {
    const auto value = metadata_.number(full(name));
    if (!value) return std::nullopt;
    return static_cast<float>(*value);
  }
  std::optional<std::vector<std::int64_t>> integers(std::string_view name) const {
    return metadata_.integers(full(name));
  }
  std::optional<bool> flag(std::string_view name) const { return metadata_.boolean(full(name)); }
  std::optional<std::string> string(std::string_view name) const { return metadata_.string(full(name)); }

 private:
  const Metadata& metadata_;
  std::string prefix_;
};

std::uint32_t vocabulary_size(const Keys& keys, const Metadata& metadata, const arch::Weights& weights) {
  if (const PackedTensor* embedding = weights.find("token_embd.weight")) {
    return narrow<std::uint32_t>(embedding->shape.rows(), "vocabulary size", keys.file());
  }
  if (const auto size = keys.size("vocab_size")) return *size;
  if (const MetaValue* tokens = metadata.find("tokenizer.ggml.tokens")) {
    if (const auto* pieces = std::get_if<std::vector<std::string>>(&tokens->value)) {
      return narrow<std::uint32_t>(pieces->size(), "vocabulary size", keys.file());
    }
  }
  fail(keys.file(), "metadata key \"{}\" is missing", keys.full("vocab_size"));
}

// The family's own keys.
void read_fields(const Keys& keys, const arch::Family& family, Architecture& a) {
  for (const arch::Field& field : family.fields) {
    if (field.gguf.empty()) continue;
    std::visit(
        [&](auto reference) {
          auto& target = reference(a);
          using T = std::remove_reference_t<decltype(target)>;
          if constexpr (std::is_same_v<T, std::uint32_t>) {
            target = keys.size(field.gguf).value_or(target);
          } else if constexpr (std::is_same_v<T, float>) {
            target = keys.number(field.gguf).value_or(target);
          } else if constexpr (std::is_same_v<T, bool>) {
            target = keys.flag(field.gguf).value_or(target);
          }
        },
        field.value);
  }
}

void write_fields(const arch::Family& family, Architecture a, Metadata& metadata) {
  for (const arch::Field& field : family.fields) {
    if (field.gguf.empty()) continue;
    const std::string key = fmt::format("{}.{}", family.gguf, field.gguf);
    std::visit(
        [&](auto reference) {
          const auto& value = reference(a);
          using T = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<T, std::uint32_t>) {
            if (value != 0) metadata.set(key, MetaValue::u32(value));
          } else if constexpr (std::is_same_v<T, float>) {
            if (value != 0) metadata.set(key, MetaValue::f32(value));
          } else if constexpr (std::is_same_v<T, bool>) {
            metadata.set(key, MetaValue::boolean(value));
          }
        },
        field.value);
  }
}

// GGUF's numbers for RouterScore: softmax, sigmoid, softmax over the chosen.
constexpr RouterScore kScores[] = {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSoftmaxOfChosen};

void read_experts(const Keys& keys, const arch::Weights& weights, Architecture& a) {
  arch::MixtureOfExperts& moe = a.moe;
  moe.n_experts = keys.size("expert_count").value_or(0);
  if (moe.n_experts == 0) {
    moe = {};
    return;
  }
  moe.top_k = keys.need("expert_used_count");
  moe.ffn_width = keys.size("expert_feed_forward_length").value_or(a.ffn_width);
  moe.first_dense_layers = keys.size("leading_dense_block_count").value_or(0);
  const std::uint32_t shared = keys.size("expert_shared_count").value_or(0);
  if (std::uint64_t{shared} * moe.ffn_width > arch::kMaxWidth) {
    fail(keys.file(), "metadata key \"{}\" is {}", keys.full("expert_shared_count"), shared);
  }
  moe.shared_ffn_width = keys.size("expert_shared_feed_forward_length").value_or(shared * moe.ffn_width);
  moe.n_groups = std::max(1u, keys.size("expert_group_count").value_or(1));
  moe.top_groups = std::max(1u, keys.size("expert_group_used_count").value_or(1));
  moe.normalize = keys.flag("expert_weights_norm").value_or(moe.normalize);
  if (const auto scale = keys.number("expert_weights_scale"); scale && *scale != 0) moe.scale = *scale;
  if (const auto score = keys.size("expert_gating_func"); score && *score != 0) {
    if (*score > std::size(kScores)) {
      fail(keys.file(), "metadata key \"{}\" is {}", keys.full("expert_gating_func"), *score);
    }
    moe.score = kScores[*score - 1];
  }
  if (weights.all().empty()) return;
  const auto has = [&](std::string_view name) {
    return weights.find(fmt::format("blk.{}.{}", moe.first_dense_layers, name)) != nullptr;
  };
  moe.correction_bias = has("exp_probs_b.bias");
  moe.router_bias = has("ffn_gate_inp.bias");
  moe.expert_bias = has("ffn_gate.0.bias");
  moe.shared_gate = has("ffn_gate_inp_shexp.weight");
}

void write_experts(const arch::MixtureOfExperts& moe, const std::string& prefix, Metadata& metadata) {
  if (moe.n_experts == 0) return;
  const auto set = [&](std::string_view name, MetaValue value) {
    metadata.set(fmt::format("{}.{}", prefix, name), std::move(value));
  };
  set("expert_count", MetaValue::u32(moe.n_experts));
  set("expert_used_count", MetaValue::u32(moe.top_k));
  set("expert_feed_forward_length", MetaValue::u32(moe.ffn_width));
  if (moe.shared_ffn_width > 0) {
    set("expert_shared_feed_forward_length", MetaValue::u32(moe.shared_ffn_width));
    if (moe.shared_ffn_width % moe.ffn_width == 0)
      set("expert_shared_count", MetaValue::u32(moe.shared_ffn_width / moe.ffn_width));
  }
  if (moe.first_dense_layers > 0) set("leading_dense_block_count", MetaValue::u32(moe.first_dense_layers));
  if (moe.n_groups > 1) {
    set("expert_group_count", MetaValue::u32(moe.n_groups));
    set("expert_group_used_count", MetaValue::u32(moe.top_groups));
  }
  set("expert_weights_norm", MetaValue::boolean(moe.normalize));
  set("expert_weights_scale", MetaValue::f32(moe.scale));
  const auto* score = std::find(std::begin(kScores), std::end(kScores), moe.score);
  set("expert_gating_func", MetaValue::u32(static_cast<std::uint32_t>(score - std::begin(kScores)) + 1));
}

// One flag per layer, or the period of the layers without a window; most files leave it to the family.
void read_windows(const Keys& keys, Architecture& a) {
  const auto pattern = keys.integers("attention.sliding_window_pattern");
  if (!pattern || a.window == 0) return;
  if (pattern->size() == 1 && a.n_layers > 1) {
    const std::int64_t period = pattern->front();
    for (std::uint32_t layer = 0; period > 0 && layer < std::min(a.n_layers, arch::kMaxLayers); ++layer) {
      a.full_layers.push_back((layer + 1) % static_cast<std::uint64_t>(period) == 0);
    }
    return;
  }
  for (const std::int64_t windowed : *pattern) a.full_layers.push_back(windowed == 0);
}

// YaRN's sharpening of the scores (DeepSeek's mscale_all_dim, a tenth of it in GGUF files).
void read_sharpening(const Keys& keys, Architecture& a) {
  const auto multiplier = keys.number("rope.scaling.yarn_log_multiplier");
  if (!multiplier || a.rope_scaling.kind != Scaling::Kind::kYarn || a.rope_scaling.factor <= 1) return;
  a.rope_scaling.attention_factor = 1;
  if (a.attention_scale > 0) return;
  const double m = double{*multiplier} * std::log(double{a.rope_scaling.factor}) + 1;
  a.attention_scale = static_cast<float>(m * m / std::sqrt(double(a.head_dim)));
}

void write_sharpening(const Architecture& a, const std::string& prefix, Metadata& metadata) {
  if (a.mla.kv_rank == 0 || a.attention_scale == 0 || a.rope_scaling.kind != Scaling::Kind::kYarn) return;
  const double m = std::sqrt(a.attention_scale * std::sqrt(double(a.head_dim)));
  metadata.set(prefix + ".rope.scaling.yarn_log_multiplier",
               MetaValue::f32(static_cast<float>((m - 1) / std::log(double{a.rope_scaling.factor}))));
}

// The cache of latent attention holds one head of [latent, rotated] and [latent]; the sizes of heads before that have
// keys of their own, or the plain ones in files that keep the product whole.
void read_latent_heads(const Keys& keys, Architecture& a) {
  if (a.mla.kv_rank == 0) return;
  a.head_dim = keys.size("attention.key_length_mla").value_or(a.head_dim);
  a.v_head_dim = keys.size("attention.value_length_mla").value_or(a.v_head_dim);
  a.n_kv_heads = 1;
}

// What only the tensors say, beyond what the family always has. Without any tensor (a vocabulary-only file) the
// family's defaults stand.
void read_presence(const arch::Weights& weights, Architecture& a) {
  if (weights.all().empty()) return;
  const auto has = [&](std::string_view name) { return weights.find(name) != nullptr; };
  a.tied_embeddings = !has("output.weight");
  a.fused_qkv = a.fused_qkv || has("blk.0.attn_qkv.weight");
  a.attention_bias = a.attention_bias || has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
  a.output_bias = a.output_bias || has("blk.0.attn_output.bias");
  a.gated_ffn = a.gated_ffn || has("blk.0.ffn_gate.weight");
  a.ffn_bias = a.ffn_bias || has("blk.0.ffn_up.bias") || has("blk.0.ffn_down.bias");
  a.norm_bias = a.norm_bias || has("blk.0.attn_norm.bias");
  a.head_bias = a.head_bias || has("output.bias");
  a.attention_sinks = a.attention_sinks || has("blk.0.attn_sinks.weight");
  if (a.parallel_block) a.ffn_norm = has("blk.0.ffn_norm.weight");
  a.qk_norm = a.qk_norm || has("blk.0.attn_q_norm.weight");
}

std::vector<float> factors_of(const PackedTensor& tensor) {
  if (tensor.parts.empty()) return {};
  return tensor.to_floats();
}

// llama.cpp multiplies YaRN's own 0.1 ln(factor) + 1 by attn_factor; Architecture holds the product.
float yarn_magnitude(float factor) { return factor > 1 ? 0.1f * std::log(factor) + 1.0f : 1.0f; }

void read_rope(const Keys& keys, const arch::Weights& weights, Architecture& a) {
  a.rotary_dim = keys.size("rope.dimension_count").value_or(a.head_dim);
  a.rope_theta = keys.number("rope.freq_base").value_or(a.rope_theta);
  Scaling& scaling = a.rope_scaling;
  const std::string type = keys.string("rope.scaling.type").value_or("none");
  float factor = keys.number("rope.scaling.factor").value_or(keys.number("rope.scale_linear").value_or(1));
  if (factor == 0) factor = 1;  // how some converters say "none"
  const std::uint32_t original = keys.size("rope.scaling.original_context_length").value_or(0);
  const float attn_factor =
      keys.number("rope.scaling.attn_factor").value_or(keys.number("rope.scaling.yarn_attn_factor").value_or(1));
  const PackedTensor *short_factors = weights.find(kRopeShort), *long_factors = weights.find(kRopeLong);
  if (type == "yarn") {
    scaling.kind = Scaling::Kind::kYarn;
    scaling.factor = factor;
    scaling.original_context = original;
    scaling.beta_fast = keys.number("rope.scaling.yarn_beta_fast").value_or(scaling.beta_fast);
    scaling.beta_slow = keys.number("rope.scaling.yarn_beta_slow").value_or(scaling.beta_slow);
    scaling.attention_factor = attn_factor == 1 ? 0 : attn_factor * yarn_magnitude(factor);
  } else if (type == "longrope" || (short_factors != nullptr && long_factors != nullptr)) {
    if (short_factors == nullptr || long_factors == nullptr) {
      fail(keys.file(), "LongRope needs the tensors {} and {}", kRopeShort, kRopeLong);
    }
    scaling.kind = Scaling::Kind::kLongRope;
    scaling.factor = factor;
    scaling.original_context = original;
    scaling.short_factors = factors_of(*short_factors);
    scaling.long_factors = factors_of(*long_factors);
    scaling.attention_factor = attn_factor;
  } else if (type == "linear" || type == "none") {
    if (factor != 1) {
      scaling.kind = Scaling::Kind::kLinear;
      scaling.factor = factor;
    }
  } else {
    throw Error(fmt::format("the RoPE scaling \"{}\" is not supported", type), keys.file(),
                "known are none, linear, yarn and longrope");
  }
  if (const PackedTensor* factors = weights.find(kRopeFreqs)) {
    if (scaling.kind != Scaling::Kind::kNone) {
      fail(keys.file(), "has both {} and RoPE scaling \"{}\"", kRopeFreqs, type);
    }
    scaling.short_factors = factors_of(*factors);
    if (!scaling.short_factors.empty()) scaling.kind = Scaling::Kind::kFactors;
  }
}

PackedTensor factor_tensor(std::string_view name, const std::vector<float>& factors) {
  return pack(std::string(name), codec_named("F32"), Shape{factors.size()}, factors);
}

// Factors that divide the plain frequencies into the Llama 3 ones.
std::vector<float> llama3_factors(const Architecture& a) {
  Architecture plain = a;
  plain.rope_scaling = {};
  const auto base = arch::rope_frequencies(plain, a.context_length).inv_freq;
  const auto scaled = arch::rope_frequencies(a, a.context_length).inv_freq;
  std::vector<float> factors(base.size());
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = base[i] / scaled[i];
  return factors;
}

void write_rope(const Architecture& a, const std::string& prefix, Metadata& metadata) {
  const auto key = [&](std::string_view name) { return fmt::format("{}.rope.{}", prefix, name); };
  metadata.set(key("dimension_count"), MetaValue::u32(a.rotary_dim));
  metadata.set(key("freq_base"), MetaValue::f32(a.rope_theta));
  const Scaling& scaling = a.rope_scaling;
  for (const std::string_view stale :
       {"scaling.type", "scaling.factor", "scaling.original_context_length", "scaling.attn_factor",
        "scaling.yarn_attn_factor", "scaling.yarn_beta_fast", "scaling.yarn_beta_slow", "scale_linear"}) {
    metadata.erase(key(stale));
  }
  const auto type = [&](std::string name) { metadata.set(key("scaling.type"), MetaValue::string(std::move(name))); };
  const auto number = [&](std::string_view name, float value) { metadata.set(key(name), MetaValue::f32(value)); };
  const auto original = [&] {
    if (scaling.original_context > 0) {
      metadata.set(key("scaling.original_context_length"), MetaValue::u32(scaling.original_context));
    }
  };
  switch (scaling.kind) {
    case Scaling::Kind::kNone:
    case Scaling::Kind::kFactors:
    case Scaling::Kind::kLlama3:
      return;  // the last two live in rope_freqs.weight
    case Scaling::Kind::kLinear:
      type("linear");
      number("scaling.factor", scaling.factor);
      return;
    case Scaling::Kind::kYarn:
      type("yarn");
      number("scaling.factor", scaling.factor);
      original();
      number("scaling.yarn_beta_fast", scaling.beta_fast);
      number("scaling.yarn_beta_slow", scaling.beta_slow);
      if (scaling.attention_factor > 0) {
        number("scaling.attn_factor", scaling.attention_factor / yarn_magnitude(scaling.factor));
      }
      return;
    case Scaling::Kind::kLongRope:
      type("longrope");
      number("scaling.factor", scaling.factor);
      original();
      number("scaling.attn_factor", arch::rope_frequencies(a, a.context_length).mscale);
      return;
    case Scaling::Kind::kDynamicNtk:
      break;
  }
  throw Error("GGUF files cannot say dynamic NTK RoPE scaling", metadata.file(),
              "save as .lathe or as a Hugging Face folder");
}

// What reading the keys again gives, with the tensors that the model has, must be the model itself but for how GGUF
// keeps rotary factors: the rest a reader takes from the family.
void check_round_trip(const Architecture& a, const Metadata& metadata) {
  arch::Weights table;
  const auto shape_only = [&](const std::string& name, const Shape& shape) {
    table.add(PackedTensor{name, &codec_named("F32"), {}, shape, {}});
  };
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) shape_only(spec.name, spec.shape);
  for (PackedTensor& factors : rope_factor_tensors(a)) table.add(std::move(factors));
  Architecture again = architecture_from_gguf(metadata, arch::family_named(a.family, metadata.file()), table);
  again.rope_scaling = a.rope_scaling;
  again.rope_layout = a.rope_layout;  // rows are reordered on writing
  again.name = a.name;
  again.family = a.family;
  if (a.position != PositionKind::kRope) again.rope_theta = a.rope_theta, again.rotary_dim = a.rotary_dim;
  if (again == a) return;
  const auto differs = [&](bool different, std::string_view what) {
    if (different) {
      throw Error(fmt::format("GGUF files of {} models cannot say the {} of this one", a.family, what), metadata.file(),
                  "save as .lathe");
    }
  };
  differs(again.norm != a.norm, "norm");
  differs(again.position != a.position, "position encoding");
  differs(again.activation != a.activation, "activation function");
  differs(again.window != a.window || again.full_layers != a.full_layers, "attention windows");
  differs(again.parallel_block != a.parallel_block, "kind of block");
  differs(!(again.moe == a.moe), "experts");
  differs(true, "scales, biases or head sizes");
}

}  // namespace

const arch::Family& gguf_family(const Metadata& metadata, FunctionRef<bool(std::string_view)> has_tensor) {
  const auto name = metadata.string("general.architecture");
  if (!name) fail(metadata.file(), "metadata key \"general.architecture\" is missing");
  return arch::family_of_gguf(*name, has_tensor, metadata.file());
}

Architecture architecture_from_gguf(const Metadata& metadata, const arch::Family& family,
                                    const arch::Weights& weights) {
  const std::string& file = metadata.file();
  const Keys keys(metadata, std::string(family.gguf));
  Architecture a = family.defaults;
  a.name = metadata.string("general.name").value_or("");
  a.rope_layout = family.gguf_rope_layout;
  a.n_layers = keys.need("block_count");
  a.width = keys.need("embedding_length");
  a.ffn_width = keys.need("feed_forward_length");
  a.n_heads = keys.need("attention.head_count");
  a.n_kv_heads = keys.size("attention.head_count_kv").value_or(a.n_heads);
  a.context_length = keys.need("context_length");
  if (a.n_heads == 0) fail(file, "metadata key \"{}\" is zero", keys.full("attention.head_count"));
  const auto head_dim = keys.size("attention.key_length");
  if (!head_dim && a.width % a.n_heads != 0) fail(file, "width {} does not divide into {} heads", a.width, a.n_heads);
  a.head_dim = head_dim.value_or(a.width / a.n_heads);
  a.v_head_dim = keys.size("attention.value_length").value_or(a.head_dim);
  a.vocab_size = vocabulary_size(keys, metadata, weights);
  const std::string_view eps =
      a.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
  a.norm_eps = keys.number(eps).value_or(a.norm_eps);
  a.window = keys.size("attention.sliding_window").value_or(a.window);
  a.attention_scale = keys.number("attention.scale").value_or(0);
  a.attention_softcap = keys.number("attn_logit_softcapping").value_or(a.attention_softcap);
  a.logit_softcap = keys.number("final_logit_softcapping").value_or(a.logit_softcap);
  a.embedding_scale = keys.number("embedding_scale").value_or(1);
  a.residual_scale = keys.number("residual_scale").value_or(1);
  if (const auto scale = keys.number("logit_scale"); scale && *scale != 0) a.logit_scale = *scale;
  read_fields(keys, family, a);
  read_latent_heads(keys, a);
  read_experts(keys, weights, a);
  read_windows(keys, a);
  read_presence(weights, a);
  if (a.position == PositionKind::kRope) {
    read_rope(keys, weights, a);
    read_sharpening(keys, a);
  }
  if (family.settle != nullptr) family.settle(a);
  a.family = arch::settled_family(family, a).name;
  arch::validate(a, file);
  return a;
}

void architecture_to_gguf(const Architecture& a, Metadata& metadata) {
  const arch::Family& family = arch::family_named(a.family, metadata.file());
  const std::string prefix(family.gguf);
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", prefix, name); };
  const auto size = [&](std::string_view name, std::uint32_t value) { metadata.set(key(name), MetaValue::u32(value)); };
  // Written when it says something; a stale value is removed.
  const auto optional = [&](std::string_view name, bool present, MetaValue value) {
    if (present)
      metadata.set(key(name), std::move(value));
    else
      metadata.erase(key(name));
  };
  metadata.set("general.architecture", MetaValue::string(prefix));
  if (!a.name.empty()) metadata.set("general.name", MetaValue::string(a.name));
  size("context_length", a.context_length);
  size("embedding_length", a.width);
  size("block_count", a.n_layers);
  size("feed_forward_length", a.ffn_width);
  size("attention.head_count", a.n_heads);
  size("attention.head_count_kv", a.n_kv_heads);
  const bool plain_heads =
      a.mla.kv_rank == 0 && a.width % a.n_heads == 0 && a.head_dim == a.width / a.n_heads && a.v_head_dim == a.head_dim;
  const bool latent = a.mla.kv_rank > 0;
  optional("attention.key_length", !plain_heads, MetaValue::u32(latent ? a.mla.kv_rank + a.rotary_dim : a.head_dim));
  optional("attention.value_length", !plain_heads, MetaValue::u32(latent ? a.mla.kv_rank : a.v_head_dim));
  optional("attention.key_length_mla", latent, MetaValue::u32(a.head_dim));
  optional("attention.value_length_mla", latent, MetaValue::u32(a.v_head_dim));
  metadata.set(key(a.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"),
               MetaValue::f32(a.norm_eps));
  if (a.position == PositionKind::kRope) write_rope(a, prefix, metadata);
  size("vocab_size", a.vocab_size);
  optional("attention.sliding_window", a.window > 0, MetaValue::u32(a.window));
  optional("attention.scale", a.attention_scale > 0, MetaValue::f32(a.attention_scale));
  optional("attn_logit_softcapping", a.attention_softcap > 0, MetaValue::f32(a.attention_softcap));
  optional("final_logit_softcapping", a.logit_softcap > 0, MetaValue::f32(a.logit_softcap));
  optional("embedding_scale", a.embedding_scale != 1, MetaValue::f32(a.embedding_scale));
  optional("residual_scale", a.residual_scale != 1, MetaValue::f32(a.residual_scale));
  optional("logit_scale", a.logit_scale != 1, MetaValue::f32(a.logit_scale));
  write_fields(family, a, metadata);
  write_experts(a.moe, prefix, metadata);
  write_sharpening(a, prefix, metadata);
  check_round_trip(a, metadata);
}

bool is_rope_factor_tensor(std::string_view name) {
  return name == kRopeFreqs || name == kRopeShort || name == kRopeLong;
}

std::vector<PackedTensor> rope_factor_tensors(const Architecture& a) {
  std::vector<PackedTensor> tensors;
  if (a.position != PositionKind::kRope) return tensors;
  const Scaling& scaling = a.rope_scaling;
  if (scaling.kind == Scaling::Kind::kFactors) tensors.push_back(factor_tensor(kRopeFreqs, scaling.short_factors));
  if (scaling.kind == Scaling::Kind::kLlama3) tensors.push_back(factor_tensor(kRopeFreqs, llama3_factors(a)));
  if (scaling.kind == Scaling::Kind::kLongRope) {
    tensors.push_back(factor_tensor(kRopeLong, scaling.long_factors));
    tensors.push_back(factor_tensor(kRopeShort, scaling.short_factors));
  }
  return tensors;
}

}  // namespace lathe::formats
