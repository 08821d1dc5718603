// A codec is how weights lie in memory: layout, bits per weight, scalar encode and decode. What chooses the values is a
// method (quant/); what computes with them is a kernel (kernels/). One layout file per codec under tensor/codecs/, all
// in the one table of tensor/codecs/registry.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lathe {

struct PackedTensor;

// What a codec of a family needs to know beside the shape; zero where it does not apply.
struct CodecParams {
  int bits = 0;
  int group_size = 0;
  int row_shift = 0;         // of codecs whose rows share something: where in such a run of rows the tensor begins
  std::uint64_t stored = 0;  // of codecs with a part whose length the shape does not say: that length
  int activation_bits = 0;   // width of the input's integers in products with the weight; 0: as the kernel likes it
  friend bool operator==(const CodecParams&, const CodecParams&) = default;
};

// A named array a packed tensor consists of: block codecs have one, "blocks"; others add "scales", "outliers", ...
struct PartSpec {
  std::string name;
  DType dtype;
  Shape shape;
};

class Codec {
 public:
  virtual ~Codec() = default;
  virtual std::string_view name() const = 0;         // "Q4_0"
  virtual std::string_view description() const = 0;  // one line for people

  // What a command line means that gives neither bits nor group size; codecs without parameters ignore it.
  virtual CodecParams usual_params() const { return {.bits = 4, .group_size = 128}; }

  // Whether CodecParams::activation_bits means anything to products with it.
  virtual bool takes_activation_bits() const { return false; }

  // Columns come in multiples of this (the block size of block codecs, 1 for plain ones).
  virtual std::uint64_t column_alignment(const CodecParams& params) const = 0;
  // The arrays that hold `shape`; throws when the codec cannot express it (a row that does not divide into blocks).
  virtual std::vector<PartSpec> parts(const Shape& shape, const CodecParams& params) const = 0;

  // Columns [column, column + out.size()) of one row, as float. Both aligned to column_alignment(), or reaching the
  // row's end.
  virtual void decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                          std::span<float> out) const = 0;

  // What a person may want to know of a tensor beside codec and parameters, in one line; empty: nothing.
  virtual std::string remark(const PackedTensor& tensor) const { return (void)tensor, std::string(); }

  virtual bool can_encode() const = 0;
  // Whether every part is as many equal pieces as there are rows, and encode() packs a row the same way whatever its
  // neighbours are.
  virtual bool rows_stand_alone() const { return true; }
  // Packs `values` (shape.elements() of them, row-major). `importance` is empty or one weight per column (how much a
  // squared error there matters).
  virtual PackedTensor encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                              std::span<const float> importance, std::string name) const = 0;

  // Rows [begin, end), and columns [begin, end) aligned to column_alignment(): shares memory where it can.
  virtual PackedTensor slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const = 0;
  virtual PackedTensor slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const = 0;
};

// Codecs whose rows are runs of equal blocks of bytes: every plain type and every GGUF type. One row of facts each.
struct BlockFormat {
  std::string_view name;
  std::string_view description;
  std::uint32_t block_size;   // weights per block
  std::uint32_t block_bytes;  // bytes per block
  int ggml_type;              // the number GGUF files use, -1 where GGUF cannot say it
  // `count` is a multiple of block_size.
  void (*decode)(const std::byte* blocks, float* out, std::uint64_t count);
  // nullptr: decode only. `values` are finite (encode_rows checks). `importance` is nullptr or `count` weights.
  void (*encode)(const float* values, std::byte* blocks, std::uint64_t count, const float* importance);
};

// The block format behind a codec, or nullptr when it is not a block codec.
const BlockFormat* block_format(const Codec& codec);

// The table. find_* return nullptr when there is none; codec_named throws an Error that lists the nearest names.
std::span<const Codec* const> all_codecs();
const Codec* find_codec(std::string_view name);
const Codec* find_codec_by_ggml_type(int type);
const Codec& codec_named(std::string_view name);

}  // namespace lathe
