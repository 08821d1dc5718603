// W8A8: symmetric 8-bit integers with one scale for the whole tensor, which also says how the inputs of its products
// become 8-bit integers (mllm-NPU, Xu et al. 2024, "Fast On-device LLM Inference with NPUs", section 3.3):
//   w[r, c] = weight_scale * value[r, c],    x[c] is about input_scale * round(x[c] / input_scale)
// with one static input scale for every row of input. Rounded inputs beyond +-127 are outliers. With the shadow on,
// what they have more is computed beside the 8-bit product and nothing is lost; with the shadow off they are cut off at
// +-127. An input scale of 0 says that none is known: each row of input then takes its own, largest magnitude / 127.
//
// Parts: "values" I8, as the tensor; "scales" F32 [2], of the weights and of the input; "shadow" U8 [1], 1 or 0.
//
// No parameters. Rows have at most kW8a8MostColumns columns, so that sums are exact (kernels/cpu/w8a8.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tensor/codec.h"

namespace lathe {

inline constexpr std::uint64_t kW8a8MostColumns = std::uint64_t{1} << 23;

class W8a8Codec final : public Codec {
 public:
  std::string_view name() const override { return "W8A8"; }
  std::string_view description() const override {
    return "8-bit integers, one scale for the tensor and one for its inputs, whose outliers may be kept";
  }
  CodecParams usual_params() const override { return {}; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  std::string remark(const PackedTensor& tensor) const override;
  bool can_encode() const override { return true; }
  bool rows_stand_alone() const override { return false; }
  // pack_w8a8 without an input scale; importance changes nothing.
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

// The codec as this type, or nullptr when it is another.
const W8a8Codec* w8a8_codec(const Codec& codec);

// How rows of input become integers.
struct W8a8Input {
  float scale = 0;      // 0: each row's own
  bool shadow = false;  // whether what lies beyond +-127 counts
  friend bool operator==(const W8a8Input&, const W8a8Input&) = default;
};

struct W8a8Scales {
  float weight = 0;
  W8a8Input input;
};

// Of a tensor. Throws an Error naming it when one is not finite or negative, an input scale is too small to have an
// inverse, or the shadow is neither on nor off.
W8a8Scales w8a8_scales(const PackedTensor& tensor);

// The integers of one row, [cols].
std::span<const std::int8_t> w8a8_row(const PackedTensor& tensor, std::uint64_t row);

// Rounds `values` under the weight scale that puts 127 on the largest magnitude. (Smaller ones that leave less squared
// error cost a model more than they save: docs/results/compression.md.)
PackedTensor pack_w8a8(const std::string& name, const Shape& shape, std::span<const float> values,
                       const W8a8Input& input);

}  // namespace lathe
