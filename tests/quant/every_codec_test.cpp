// Every codec under every architecture family, at a width that every block divides and at one that leaves tails: the
// executor on packed weights against the executor on the same weights decoded to floats. Only what kernels make of
// activations may differ.
#include <gtest/gtest.h>

#include "arch/families.h"
#include "base/error.h"
#include "reference/tiny_model.h"

namespace lathe::quant {
namespace {

using test::TinyModel;

struct Packing {
  const Codec* codec;
  CodecParams params;
};

bool holds(const Codec& codec, const CodecParams& params, const Shape& shape) {
  try {
    codec.parts(shape, params);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Packing> packings() {
  std::vector<Packing> all;
  for (const Codec* codec : all_codecs()) {
    if (!codec->can_encode()) continue;
    if (block_format(*codec) != nullptr || codec->usual_params() == CodecParams{}) {
      all.push_back({codec, {}});
      continue;
    }
    for (int bits = 1; bits <= 8; ++bits) {  // those widths and groups that the codec has
      for (const int group : {bits % 3 == 0 ? 0 : bits % 3 == 1 ? 128 : 64, codec->usual_params().group_size}) {
        if (!holds(*codec, {bits, group}, Shape{1, 256})) continue;
        all.push_back({codec, {bits, group}});
        break;
      }
    }
  }
  return all;
}

arch::Architecture sized(const arch::Family& family, std::uint32_t width) {
  arch::Architecture a = family.defaults;
  a.n_layers = 1;
  a.width = a.ffn_width = width;
  a.n_heads = width / 32;
  a.n_kv_heads = a.fused_qkv ? a.n_heads : a.n_heads / 2;
  a.head_dim = a.v_head_dim = 32;
  a.rotary_dim = a.position == arch::PositionKind::kRope ? 32 : 0;
  a.vocab_size = 64;
  a.context_length = 256;
  return a;
}

TinyModel packed(const TinyModel& plain, const Packing& packing) {
  TinyModel model{plain.architecture, {}, {}};
  for (const auto& [name, tensor] : plain.weights.all()) {
    const bool fits = tensor.shape.rank() >= 2 && holds(*packing.codec, packing.params, tensor.shape);
    model.weights.add(fits ? repack(tensor, *packing.codec, packing.params) : tensor);
  }
  return model;
}

TinyModel decoded(const TinyModel& model) {
  TinyModel floats{model.architecture, {}, {}};
  for (const auto& [name, tensor] : model.weights.all()) {
    floats.weights.add(pack(name, codec_named("F32"), tensor.shape, tensor.to_floats()));
  }
  return floats;
}

class EveryCodec : public testing::TestWithParam<std::string_view> {};
std::vector<std::string_view> family_names() {
  std::vector<std::string_view> names;
  for (const arch::Family& family : arch::families()) {
    // The passes here read no source text.
    if (family.defaults.output_head && family.defaults.encoder.n_layers == 0) names.push_back(family.name);
  }
  return names;
}
INSTANTIATE_TEST_SUITE_P(Families, EveryCodec, testing::ValuesIn(family_names()), [](const auto& info) {
  std::string name(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

// Largest error over the largest distance of a logit from their mean: rounding of sums where kernels read floats, the
// rounding of activations to 8 bits where they do not.
TEST_P(EveryCodec, ComputesWithItsOwnDecodedWeights) {
  const std::shared_ptr<kernels::Backend> backend = test::cpu(2);
  const std::shared_ptr<kernels::Backend> tables = test::cpu(2, "auto+lut");
  for (const std::uint32_t width : {256u, 192u}) {
    const TinyModel plain = test::make_tiny_model(sized(*arch::find_family(GetParam()), width));
    const std::vector<std::int32_t> ids = test::random_ids(9, plain.architecture.vocab_size, 2);
    for (const Packing& packing : packings()) {
      const TinyModel model = packed(plain, packing);
      const std::vector<float> floats = test::Executor(decoded(model), backend).logits(ids);
      const std::vector<double> expected(floats.begin(), floats.end());
      const std::string_view name = packing.codec->name();
      const bool exact = name == "F32" || name == "F16" || name == "BF16" || name == "F64" || name == "I8_GROUP";
      const bool any_width = name.starts_with("INT_") || name == "BIPOLAR" || name == "BALANCED";
      EXPECT_LT(test::relative_error(test::Executor(model, backend).logits(ids), expected), exact ? 1e-4 : 0.04)
          << name << ", " << packing.params.bits << " bits, width " << width;
      if (!any_width) continue;
      EXPECT_LT(test::relative_error(test::Executor(model, tables).logits(ids), expected), 0.06)
          << name << " by look-up, " << packing.params.bits << " bits, width " << width;
    }
  }
}

}  // namespace
}  // namespace lathe::quant
