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

// GGUF has no keys for these: a reader takes them from the family.
void check_family(const Architecture& a, std::string_view file) {
  const Architecture& family = arch::family_named(a.family, file).defaults;
  const auto same = [&](bool equal, std::string_view what) {
    if (!equal)
      throw Error(fmt::format("GGUF files cannot say the {} of this model", what), std::string(file), "save as .lathe");
  };
  same(a.norm == family.norm, "norm");
  same(a.position == family.position, "position encoding");
  same(a.activation == family.activation, "activation function");
}

}  // namespace

Architecture architecture_from_gguf(const Metadata& metadata, const arch::Weights& weights) {
  const std::string& file = metadata.file();
  const auto name = metadata.string("general.architecture");
  if (!name) fail(file, "metadata key \"general.architecture\" is missing");
  const arch::Family& family = arch::family_named(*name, file);
  const Keys keys(metadata, *name);
  Architecture a = family.defaults;
  a.family = family.name;
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
  a.window = keys.size("attention.sliding_window").value_or(0);
  a.attention_scale = keys.number("attention.scale").value_or(0);
  a.attention_softcap = keys.number("attn_logit_softcapping").value_or(0);
  a.logit_softcap = keys.number("final_logit_softcapping").value_or(0);
  a.embedding_scale = keys.number("embedding_scale").value_or(1);
  a.residual_scale = keys.number("residual_scale").value_or(1);
  if (const auto scale = keys.number("logit_scale"); scale && *scale != 0) a.logit_scale = *scale;
  read_presence(weights, a);
  if (a.position == PositionKind::kRope) read_rope(keys, weights, a);
  arch::validate(a, file);
  return a;
}

void architecture_to_gguf(const Architecture& a, Metadata& metadata) {
  check_family(a, metadata.file());
  const std::string& prefix = a.family;
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", prefix, name); };
  const auto size = [&](std::string_view name, std::uint32_t value) { metadata.set(key(name), MetaValue::u32(value)); };
  // Written when it says something; a stale value is removed.
  const auto optional = [&](std::string_view name, bool present, MetaValue value) {
    if (present)
      metadata.set(key(name), std::move(value));
    else
      metadata.erase(key(name));
  };
  metadata.set("general.architecture", MetaValue::string(a.family));
  if (!a.name.empty()) metadata.set("general.name", MetaValue::string(a.name));
  size("context_length", a.context_length);
  size("embedding_length", a.width);
  size("block_count", a.n_layers);
  size("feed_forward_length", a.ffn_width);
  size("attention.head_count", a.n_heads);
  size("attention.head_count_kv", a.n_kv_heads);
  const bool plain_heads = a.width % a.n_heads == 0 && a.head_dim == a.width / a.n_heads && a.v_head_dim == a.head_dim;
  optional("attention.key_length", !plain_heads, MetaValue::u32(a.head_dim));
  optional("attention.value_length", !plain_heads, MetaValue::u32(a.v_head_dim));
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
