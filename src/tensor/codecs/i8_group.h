// I8_GROUP: int8 weights with a float scale per group_size columns, in two arrays: x[r, c] = values[r, c] *
// scales[r, c / group_size]. It is how llama2.c's version 2 export stores weights; the last group of a row may be
// short. Parameters: group_size >= 1.
#pragma once

#include "tensor/codec.h"

namespace lathe {

class I8GroupCodec final : public Codec {
 public:
  std::string_view name() const override { return "I8_GROUP"; }
  std::string_view description() const override { return "8-bit integers, a float scale per group of any size"; }
  std::uint64_t column_alignment(const CodecParams& params) const override;
  // "values" I8 [..., cols] and "scales" F32 [..., groups of a row].
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return true; }
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
};

}  // namespace lathe
