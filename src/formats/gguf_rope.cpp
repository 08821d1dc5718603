#include "formats/gguf_rope.h"

#include <cmath>

#include "arch/rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using arch::PositionKind;
using Scaling = arch::RopeScaling;

constexpr std::string_view kRopeFreqs = "rope_freqs.weight", kRopeShort = "rope_factors_short.weight",
                           kRopeLong = "rope_factors_long.weight";

std::vector<float> factors_of(const PackedTensor& tensor) {
  if (tensor.parts.empty()) return {};
  return tensor.to_floats();
}

// llama.cpp multiplies YaRN's own 0.1 ln(factor) + 1 by attn_factor; Architecture holds the product.
float yarn_magnitude(float factor) { return factor > 1 ? 0.1f * std::log(factor) + 1.0f : 1.0f; }

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

// YaRN's sharpening of the scores (DeepSeek's mscale_all_dim, a tenth of it in GGUF files).
void read_sharpening(const GgufKeys& keys, Architecture& a) {
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

}  // namespace

void read_gguf_rope(const GgufKeys& keys, const arch::Weights& weights, Architecture& a) {
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
  read_sharpening(keys, a);
}

void write_gguf_rope(const Architecture& a, const std::string& prefix, Metadata& metadata) {
  write_sharpening(a, prefix, metadata);
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
