// Weights at rest: a codec, its parameters, and the named arrays they consist of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/checked.h"
#include "tensor/codec.h"

namespace lathe {

struct Part {
  PartSpec spec;
  Bytes data;  // little-endian, dense, row-major; shares ownership of the mapping or buffer it lies in
};

// Value type; copying shares the bytes. Shape is [rows, cols] for matrices, [n] for vectors, outermost first.
struct PackedTensor {
  std::string name;
  const Codec* codec = nullptr;
  CodecParams params;
  Shape shape;
  std::vector<Part> parts;

  const Bytes& part(std::string_view part_name) const;  // throws when absent
  std::uint64_t bytes() const;
  double bits_per_weight() const;
  bool empty() const { return codec == nullptr; }

  // Decodes everything, row-major.
  std::vector<float> to_floats() const;
  void decode_row(std::uint64_t row, std::span<float> out) const { codec->decode_row(*this, row, 0, out); }
  PackedTensor rows(std::uint64_t begin, std::uint64_t end) const { return codec->slice_rows(*this, begin, end); }
  PackedTensor columns(std::uint64_t begin, std::uint64_t end) const { return codec->slice_columns(*this, begin, end); }
};

// Builds a tensor over existing bytes, one run for each of codec.parts(shape, params) in that order; throws unless each
// has exactly the size its part needs. This is the only way file bytes become weights.
PackedTensor packed_parts(std::string name, const Codec& codec, const Shape& shape, const CodecParams& params,
                          std::vector<Bytes> data);
// The same for a block codec, which has one part.
PackedTensor packed_blocks(std::string name, const Codec& codec, const Shape& shape, Bytes data);

// Encodes floats; `importance` as in Codec::encode.
PackedTensor pack(std::string name, const Codec& codec, const Shape& shape, std::span<const float> values,
                  const CodecParams& params = {}, std::span<const float> importance = {});

// The same weights under another codec (decoded and encoded row by row); a plain copy when it is the same.
PackedTensor repack(const PackedTensor& tensor, const Codec& codec, const CodecParams& params = {});

}  // namespace lathe
