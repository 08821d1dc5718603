// The one Codec over every BlockFormat row: a tensor is rows of equal blocks of bytes in one part named "blocks". Plain
// element types are blocks of one weight.
#pragma once

#include <bit>
#include <cstring>

#include "tensor/codec.h"

namespace lathe {

class BlockCodec final : public Codec {
 public:
  explicit BlockCodec(const BlockFormat& format) : format_(&format) {}
  const BlockFormat& format() const { return *format_; }

  std::string_view name() const override { return format_->name; }
  std::string_view description() const override { return format_->description; }
  std::uint64_t column_alignment(const CodecParams&) const override { return format_->block_size; }
  // Plain types: their dtype and the tensor's own shape. Blocks: U8, the last extent being the bytes of a row.
  std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const override;
  void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                  std::span<float> out) const override;
  bool can_encode() const override { return format_->encode != nullptr; }
  PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                      std::span<const float> importance, std::string name) const override;
  PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;
  PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const override;

 private:
  const BlockFormat* format_;
};

// Bytes of a row of `cols` weights; throws naming `where` when they do not divide into blocks or the size overflows.
std::uint64_t row_bytes(const BlockFormat& format, std::uint64_t cols, std::string_view where);

// Packs whole rows of `cols` values into `blocks`, which must have exactly the bytes they need. Throws, naming the
// tensor and the value, for NaN and infinity, for a value the format cannot hold, and for a format that only decodes.
// Stateless: callers may run it on disjoint rows from many threads. `importance` is empty or `cols` weights.
void encode_rows(const BlockFormat& format, std::span<const float> values, std::uint64_t cols,
                 std::span<const float> importance, std::span<std::byte> blocks, std::string_view tensor_name);

// The alignment that a block's address needs so that kernels may read it through its struct: the largest power of two,
// at most 8, that divides its bytes.
inline std::uint64_t block_alignment(const BlockFormat& format) {
  return std::uint64_t{1} << std::min(3, std::countr_zero(format.block_bytes));
}

// A block by value from bytes of any alignment, and back.
template <class Block>
Block load_block(const std::byte* blocks, std::uint64_t index) {
  Block block;
  std::memcpy(&block, blocks + index * sizeof(Block), sizeof(Block));
  return block;
}
template <class Block>
void store_block(std::byte* blocks, std::uint64_t index, const Block& block) {
  std::memcpy(blocks + index * sizeof(Block), &block, sizeof(Block));
}

}  // namespace lathe
