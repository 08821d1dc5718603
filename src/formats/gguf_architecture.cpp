#include "formats/gguf_architecture.h"

#include <algorithm>

#include "arch/families.h"
#include "formats/gguf_experts.h"
#include "formats/gguf_keys.h"
#include "formats/gguf_rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using arch::PositionKind;

std::uint32_t vocabulary_size(const GgufKeys& keys, const Metadata& metadata, const arch::Weights& weights) {
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
void read_fields(const GgufKeys& keys, const arch::Family& family, Architecture& a) {
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

// One flag per layer, or the period of the layers without a window; most files leave it to the family.
void read_windows(const GgufKeys& keys, Architecture& a) {
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

// The cache of latent attention holds one head of [latent, rotated] and [latent]; the sizes of heads before that have
// keys of their own, or the plain ones in files that keep the product whole.
void read_latent_heads(const GgufKeys& keys, Architecture& a) {
  if (a.mla.kv_rank == 0) return;
  a.head_dim = keys.size("attention.key_length_mla").value_or(a.head_dim);
  a.v_head_dim = keys.size("attention.value_length_mla").value_or(a.v_head_dim);
  a.n_kv_heads = 1;
}

// llama.cpp's numbers of the ways to make one vector of a text; 0 leaves it to the user.
constexpr std::pair<PoolingKind, std::uint32_t> kPoolingTypes[] = {
    {PoolingKind::kMean, 1}, {PoolingKind::kCls, 2}, {PoolingKind::kLast, 3}};

void read_pooling(const GgufKeys& keys, Architecture& a) {
  const auto type = keys.size("pooling_type");
  if (type.value_or(0) == 0) return;
  const auto row = std::find_if(std::begin(kPoolingTypes), std::end(kPoolingTypes),
                                [&](const auto& known) { return known.second == *type; });
  if (row == std::end(kPoolingTypes)) {
    fail(keys.file(),
         "metadata key \"{}\" is {}, which is not supported: known are 1 (mean), 2 (first) and 3 (last token)",
         keys.full("pooling_type"), *type);
  }
  a.pooling = row->first;
}

// What only the tensors say, beyond what the family always has. Without any tensor (a vocabulary-only file) the
// family's defaults stand.
void read_presence(const arch::Weights& weights, Architecture& a) {
  if (weights.all().empty()) return;
  const std::string_view side = a.encoder.n_layers > 0 ? "dec." : "";
  const auto has = [&](std::string_view name) {
    return weights.find(name.starts_with("blk.") ? fmt::format("{}{}", side, name) : name) != nullptr;
  };
  a.tied_embeddings = !has("output.weight");
  if (const PackedTensor* types = weights.find("token_types.weight")) {
    a.token_types =
        types->shape.rank() == 2 ? narrow<std::uint32_t>(types->shape.rows(), "token types", types->name) : 1;
  }
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
  again.unit_vectors = a.unit_vectors;  // files leave it to their user
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
  const GgufKeys keys(metadata, std::string(family.gguf));
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
  a.attention_scale = keys.number("attention.scale").value_or(a.attention_scale);
  a.attention_softcap = keys.number("attn_logit_softcapping").value_or(a.attention_softcap);
  a.logit_softcap = keys.number("final_logit_softcapping").value_or(a.logit_softcap);
  a.embedding_scale = keys.number("embedding_scale").value_or(1);
  a.residual_scale = keys.number("residual_scale").value_or(1);
  if (const auto scale = keys.number("logit_scale"); scale && *scale != 0) a.logit_scale = *scale;
  if (a.encoder.n_layers > 0) {
    // The decoder has as many layers as the encoder unless a field says otherwise.
    if (a.n_layers == 0) fail(file, "the encoder has no layers");
    a.encoder.n_layers = a.n_layers;
    a.encoder.start_token = keys.size("decoder_start_token_id").value_or(0);
  }
  read_fields(keys, family, a);
  read_latent_heads(keys, a);
  read_gguf_experts(keys, weights, a);
  read_windows(keys, a);
  a.causal = keys.flag("attention.causal").value_or(a.causal);
  read_pooling(keys, a);
  read_presence(weights, a);
  if (a.position == PositionKind::kRelative && weights.find("dec.blk.1.attn_rel_b.weight") != nullptr)
    fail(file, "has relative biases for every layer, as UMT5 does, which is not supported");
  if (a.position == PositionKind::kRope) {
    read_gguf_rope(keys, weights, a);
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
  size("block_count", a.encoder.n_layers > 0 ? a.encoder.n_layers : a.n_layers);
  optional("decoder_start_token_id", a.encoder.n_layers > 0, MetaValue::u32(a.encoder.start_token));
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
  if (a.position == PositionKind::kRope) write_gguf_rope(a, prefix, metadata);
  size("vocab_size", a.vocab_size);
  optional("attention.sliding_window", a.window > 0, MetaValue::u32(a.window));
  optional("attention.causal", !a.causal, MetaValue::boolean(false));
  const auto pooling = std::find_if(std::begin(kPoolingTypes), std::end(kPoolingTypes),
                                    [&](const auto& row) { return row.first == a.pooling; });
  optional("pooling_type", !a.causal || a.pooling != family.defaults.pooling, MetaValue::u32(pooling->second));
  // The one key of a network that lies with the tokenizer's.
  if (a.token_types > 0) metadata.set("tokenizer.ggml.token_type_count", MetaValue::u32(a.token_types));
  optional("attention.scale", a.attention_scale > 0, MetaValue::f32(a.attention_scale));
  optional("attn_logit_softcapping", a.attention_softcap > 0, MetaValue::f32(a.attention_softcap));
  optional("final_logit_softcapping", a.logit_softcap > 0, MetaValue::f32(a.logit_softcap));
  optional("embedding_scale", a.embedding_scale != 1, MetaValue::f32(a.embedding_scale));
  optional("residual_scale", a.residual_scale != 1, MetaValue::f32(a.residual_scale));
  optional("logit_scale", a.logit_scale != 1, MetaValue::f32(a.logit_scale));
  write_fields(family, a, metadata);
  write_gguf_experts(a.moe, prefix, metadata);
  check_round_trip(a, metadata);
}

}  // namespace lathe::formats
