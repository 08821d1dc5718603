#include "arch/architecture.h"

#include <cmath>

#include "base/error.h"

namespace lathe::arch {
namespace {

void check_range(std::uint32_t value, std::uint32_t most, std::string_view what, std::string_view where) {
  if (value == 0 || value > most) fail(where, "{} is {}, expected 1 to {}", what, value, most);
}

void check_factor(float value, bool positive, std::string_view what, std::string_view where) {
  if (!std::isfinite(value) || (positive ? value <= 0 : value < 0)) fail(where, "{} is {}", what, value);
}

// Each kind's own parameters; `original` is the context the frequencies were trained for.
void validate(const RopeScaling& scaling, std::uint32_t rotary_dim, std::uint32_t original, std::string_view where) {
  using Kind = RopeScaling::Kind;
  check_factor(scaling.factor, true, "RoPE scaling factor", where);
  check_factor(scaling.attention_factor, false, "RoPE attention factor", where);
  const std::size_t frequencies = rotary_dim / 2;
  for (const auto* factors : {&scaling.short_factors, &scaling.long_factors}) {
    if (!factors->empty() && factors->size() != frequencies) {
      fail(where, "{} RoPE factors for {} frequencies", factors->size(), frequencies);
    }
    for (const float factor : *factors) check_factor(factor, true, "a RoPE factor", where);
  }
  if (scaling.kind == Kind::kDynamicNtk && rotary_dim < 4) {
    fail(where, "dynamic NTK RoPE scaling needs more than {} rotary dimensions", rotary_dim);
  }
  if (scaling.kind == Kind::kYarn) {
    check_factor(scaling.beta_fast, true, "YaRN's beta_fast", where);
    check_factor(scaling.beta_slow, true, "YaRN's beta_slow", where);
  }
  if (scaling.kind == Kind::kLlama3) {
    check_factor(scaling.low_freq_factor, true, "low_freq_factor", where);
    check_factor(scaling.high_freq_factor, true, "high_freq_factor", where);
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      fail(where, "high_freq_factor {} is not above low_freq_factor {}", scaling.high_freq_factor,
           scaling.low_freq_factor);
    }
  }
  if (scaling.kind == Kind::kLongRope) {
    if (scaling.short_factors.empty() || scaling.long_factors.empty()) {
      fail(where, "LongRope needs short and long factors");
    }
    if (original < 2) fail(where, "LongRope's original context is {}", original);
  }
  if (scaling.kind == Kind::kFactors && scaling.short_factors.empty()) fail(where, "the RoPE factors are missing");
}

void validate(const MixtureOfExperts& moe, const Architecture& a, std::string_view where) {
  check_range(moe.n_experts, kMaxExperts, "expert count", where);
  check_range(moe.top_k, moe.n_experts, "number of experts per token", where);
  if (std::uint64_t{moe.n_experts} * a.n_layers > kMaxMatrices) {
    fail(where, "{} experts in each of {} layers, expected at most {} in all", moe.n_experts, a.n_layers, kMaxMatrices);
  }
  check_range(moe.ffn_width, kMaxWidth, "feed-forward width of experts", where);
  if (moe.shared_ffn_width > kMaxWidth) fail(where, "width of the shared experts is {}", moe.shared_ffn_width);
  if (moe.first_dense_layers > a.n_layers) {
    fail(where, "{} dense layers before the first with experts, of {}", moe.first_dense_layers, a.n_layers);
  }
  check_range(moe.n_groups, moe.n_experts, "number of expert groups", where);
  check_range(moe.top_groups, moe.n_groups, "number of expert groups per token", where);
  if (moe.n_experts % moe.n_groups != 0) {
    fail(where, "{} experts do not divide into {} groups", moe.n_experts, moe.n_groups);
  }
  if (moe.top_k > moe.n_experts / moe.n_groups * moe.top_groups) {
    fail(where, "{} experts per token, but {} groups of {} hold {}", moe.top_k, moe.top_groups,
         moe.n_experts / moe.n_groups, moe.n_experts / moe.n_groups * moe.top_groups);
  }
  if (moe.n_groups > 1 && moe.correction_bias && moe.n_experts / moe.n_groups < 2) {
    fail(where, "groups of one expert have no two best ones to be judged by");
  }
  check_factor(moe.scale, true, "scale of expert weights", where);
  if (!a.gated_ffn) fail(where, "experts without a gate are not supported");
}

void validate(const LatentAttention& mla, const Architecture& a, std::string_view where) {
  if (std::uint64_t{a.n_heads} * a.n_layers > kMaxMatrices) {
    fail(where, "{} heads with matrices of their own in each of {} layers", a.n_heads, a.n_layers);
  }
  if (mla.kv_rank > kMaxWidth / a.n_heads) fail(where, "latent rank of keys and values is {}", mla.kv_rank);
  if (mla.q_rank > kMaxWidth) fail(where, "latent rank of queries is {}", mla.q_rank);
  if (a.position != PositionKind::kRope || a.rotary_dim >= a.head_dim) {
    fail(where, "latent attention rotates {} of {} elements of a head, expected a part of them", a.rotary_dim,
         a.head_dim);
  }
  if (a.n_kv_heads != 1) fail(where, "latent attention has one latent for keys and values, not {}", a.n_kv_heads);
  if (a.fused_qkv || a.qk_norm) fail(where, "latent attention has no fused or normalised queries and keys");
}

void validate(const RelativeBias& relative, const Architecture& a, std::string_view where) {
  // Half of a half of them have a distance of their own.
  if (relative.buckets < 4 || relative.buckets % 2 != 0 || relative.buckets > kMaxBiases)
    fail(where, "{} buckets of relative positions, expected an even number from 4 on", relative.buckets);
  const std::uint32_t exact = relative.buckets / 2;
  if (relative.max_distance <= exact || relative.max_distance > kMaxBiases / 4 / a.n_heads) {
    fail(where, "the largest relative position is {}, expected {} to {}", relative.max_distance, exact + 1,
         kMaxBiases / 4 / a.n_heads);
  }
}

void validate(const Encoder& encoder, const Architecture& a, std::string_view where) {
  check_range(encoder.n_layers, kMaxLayers, "layer count of the encoder", where);
  if (encoder.vocab_size > kMaxVocab) fail(where, "vocabulary size of the encoder is {}", encoder.vocab_size);
  if (encoder.start_token >= a.vocab_size) {
    fail(where, "the decoder starts with token {}, which is outside the vocabulary of {}", encoder.start_token,
         a.vocab_size);
  }
  const std::pair<bool, std::string_view> never[] = {{!a.causal, "a decoder whose tokens see those after them"},
                                                     {!a.output_head, "no output head"},
                                                     {a.parallel_block, "parallel branches"},
                                                     {a.stream_norms, "norms on the residual stream"},
                                                     {a.position == PositionKind::kLearned, "learned positions"},
                                                     {a.token_types > 0, "kinds of segment"},
                                                     {a.window > 0, "attention windows"},
                                                     {a.post_norms, "norms on branches"},
                                                     {a.sub_norms, "norms inside branches"},
                                                     {a.qk_norm, "norms on queries and keys"},
                                                     {a.attention_sinks, "attention sinks"},
                                                     {a.moe.n_experts > 0, "experts"},
                                                     {a.mla.kv_rank > 0, "latent attention"}};
  for (const auto& [is, what] : never) {
    if (is) fail(where, "an encoder-decoder model with {} is not supported", what);
  }
}

// What excludes each other.
void check_flags(const Architecture& a, std::string_view where) {
  if (!a.full_layers.empty() && a.full_layers.size() != a.n_layers) {
    fail(where, "{} layers are said to have a window or none, of {}", a.full_layers.size(), a.n_layers);
  }
  if (a.position_offset > kMaxContext) fail(where, "position offset is {}", a.position_offset);
  if (a.fused_gate_up && !a.gated_ffn) fail(where, "feed-forward layers without a gate have none to fuse");
  if (a.head_bias && a.tied_embeddings) fail(where, "an output head that is the embedding has no bias");
  if (!a.ffn_norm && !a.parallel_block) fail(where, "feed-forward layers have no norm");
  if (a.post_norms && a.parallel_block) fail(where, "norms after parallel branches are not supported");
  if (a.stream_norms && (a.parallel_block || a.post_norms)) {
    fail(where, "norms on the residual stream and parallel branches or norms on branches exclude each other");
  }
  if (a.sub_norms && a.moe.n_experts > 0) fail(where, "norms inside experts are not supported");
  if (a.token_types > kMaxTokenTypes)
    fail(where, "{} kinds of segment, expected at most {}", a.token_types, kMaxTokenTypes);
  if (a.attention_sinks && a.position == PositionKind::kRelative)
    fail(where, "attention sinks and relative positions exclude each other");
  if (!a.output_head && a.head_bias) fail(where, "an output head that is not there has no bias");
}

}  // namespace

Architecture encoder_of(const Architecture& a) {
  Architecture encoder = a;
  encoder.n_layers = a.encoder.n_layers;
  if (a.encoder.vocab_size > 0) encoder.vocab_size = a.encoder.vocab_size;
  encoder.causal = encoder.output_head = encoder.head_bias = false;
  encoder.encoder = {};
  return encoder;
}

void validate(const Architecture& a, std::string_view where) {
  check_range(a.n_layers, kMaxLayers, "layer count", where);
  check_range(a.width, kMaxWidth, "model width", where);
  check_range(a.n_heads, kMaxHeads, "head count", where);
  check_range(a.n_kv_heads, a.n_heads, "KV head count", where);
  check_range(a.head_dim, kMaxWidth / a.n_heads, "head dimension", where);
  check_range(a.v_head_dim, kMaxWidth / a.n_heads, "value head dimension", where);
  check_range(a.ffn_width, kMaxWidth, "feed-forward width", where);
  check_range(a.vocab_size, kMaxVocab, "vocabulary size", where);
  check_range(a.context_length, kMaxContext, "context length", where);
  if (a.n_heads % a.n_kv_heads != 0) fail(where, "{} heads do not divide into {} KV heads", a.n_heads, a.n_kv_heads);
  check_factor(a.norm_eps, false, "norm epsilon", where);
  check_factor(a.attention_scale, false, "attention scale", where);
  check_factor(a.attention_softcap, false, "attention soft cap", where);
  check_factor(a.logit_softcap, false, "logit soft cap", where);
  check_factor(a.embedding_scale, true, "embedding scale", where);
  check_factor(a.residual_scale, true, "residual scale", where);
  check_factor(a.logit_scale, true, "logit scale", where);
  if (a.position == PositionKind::kRope) {
    check_range(a.rotary_dim, a.head_dim, "rotary dimension", where);
    if (a.rotary_dim % 2 != 0) fail(where, "rotary dimension {} is odd", a.rotary_dim);
    check_factor(a.rope_theta, true, "RoPE base", where);
    const std::uint32_t original = a.rope_scaling.original_context;
    validate(a.rope_scaling, a.rotary_dim, original > 0 ? original : a.context_length, where);
    check_factor(a.window_rope_theta, false, "RoPE base of layers with a window", where);
  }
  if (a.position == PositionKind::kRelative) validate(a.relative, a, where);
  if (a.position == PositionKind::kSinusoidal && a.width % 2 != 0)
    fail(where, "position vectors of an odd width {} are not supported", a.width);
  check_flags(a, where);
  check_factor(a.activation_limit, false, "activation limit", where);
  if (a.moe.n_experts > 0 || a.moe.top_k > 0) validate(a.moe, a, where);
  if (!(a.encoder == Encoder())) validate(a.encoder, a, where);
  if (a.mla.kv_rank > 0) {
    validate(a.mla, a, where);
  } else if (a.mla.q_rank > 0) {
    fail(where, "latent attention lacks the rank of keys and values");
  }
}

}  // namespace lathe::arch
