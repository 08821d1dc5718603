// Every way in which weights can be packed, for tests that hold all of them to the same promises: taken from the table
// of codecs, so that a new one is among them.
#pragma once

#include <string>
#include <vector>

#include "reference/tiny_model.h"
#include "tensor/codec.h"

namespace lathe::test {

struct Packing {
  const Codec* codec;
  CodecParams params;
  std::string name() const;  // "INT_SYM_4_128", "INT_SYM_4_128_a8", "Q4_K"
};

// Whether the codec has these parameters and can hold the shape.
bool holds(const Packing& packing, const Shape& shape);

// Every codec that can encode, at every width that it has, with groups of 128, of 64 or of whole rows in turn, or the
// codec's own where it has no such.
std::vector<Packing> packings();

// The same with inputs rounded to `bits`, of those codecs that can ask for it.
std::vector<Packing> with_activation_bits(const std::vector<Packing>& packings, int bits);

// Matrices in that packing where it can hold them. `packed` counts them.
TinyModel packed(const TinyModel& plain, const Packing& packing, std::size_t* packed = nullptr);

// The values of the packed weights, as F32.
TinyModel unpacked(const TinyModel& model);

}  // namespace lathe::test
