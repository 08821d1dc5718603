// What a method is asked to produce: a codec with its parameters, and whether its weights are free integers on a grid
// per group, which error-compensating methods need.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tensor/codecs/int_group.h"
#include "tensor/packed_tensor.h"

namespace lathe::quant {

struct Target {
  const Codec* codec = nullptr;
  CodecParams params;
  std::string text() const;  // "INT_SYM, 4 bits, groups of 128"
};

// Throws a UsageError unless the codec has the parameters: of a width that it knows, and none where it has one layout.
void check_parameters(const Target& target);

// Integer groups that hold exactly what the target can hold: the target itself, INT_SYM with 4, 5 or 8 bits in groups
// of 32 for Q4_0, Q5_0 and Q8_0, whose blocks are the same numbers in another order, or INT_SYM with one bit more for
// BALANCED, which has not all of its levels.
struct IntegerGrid {
  Target target;
  bool balanced = false;

  // The grid for `x`, one weight per value, and the level nearest to x (tensor/codecs/int_group_fit.h).
  IntGrid fit(std::span<const float> x, std::span<const float> weights) const;
  int nearest(const IntGrid& grid, float x) const;
};
// Nothing for other codecs.
std::optional<IntegerGrid> integer_grid(const Target& target);

// The same weights in the target's own layout; `integers` is a tensor of integer_grid(target)->target.
PackedTensor from_integer_grid(const PackedTensor& integers, const Target& target);

}  // namespace lathe::quant
