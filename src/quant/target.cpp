#include "quant/target.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "tensor/codecs/balanced.h"
#include "tensor/codecs/int_group_fit.h"

namespace lathe::quant {
namespace {

struct BlockGrid {
  std::string_view codec;
  int bits;
};
constexpr BlockGrid kBlockGrids[] = {{"Q4_0", 4}, {"Q5_0", 5}, {"Q8_0", 8}};
constexpr std::uint64_t kGgufBlock = 32;

// One block of Q4_0, Q5_0 or Q8_0 from its levels (docs/codecs.md has the layouts).
void write_block(int bits, std::uint16_t scale, const std::uint8_t* levels, std::byte* out) {
  std::memcpy(out, &scale, sizeof scale);
  out += sizeof scale;
  if (bits == 8) {
    for (std::uint64_t i = 0; i < kGgufBlock; ++i) out[i] = static_cast<std::byte>(levels[i] - 128);
    return;
  }
  if (bits == 5) {
    std::uint32_t fifth = 0;
    for (std::uint64_t i = 0; i < kGgufBlock; ++i) fifth |= static_cast<std::uint32_t>(levels[i] >> 4) << i;
    std::memcpy(out, &fifth, sizeof fifth);
    out += sizeof fifth;
  }
  for (std::uint64_t i = 0; i < kGgufBlock / 2; ++i) {
    out[i] = static_cast<std::byte>((levels[i] & 15) | (levels[i + kGgufBlock / 2] & 15) << 4);
  }
}

}  // namespace

std::string Target::text() const {
  if (params.bits == 0) return std::string(codec->name());
  return fmt::format("{}, {} bits, {}{}", codec->name(), params.bits,
                     params.group_size == 0 ? "one group per row" : fmt::format("groups of {}", params.group_size),
                     params.activation_bits == 0 ? "" : fmt::format(", {}-bit activations", params.activation_bits));
}

IntGrid IntegerGrid::fit(std::span<const float> x, std::span<const float> weights) const {
  return balanced ? fit_balanced_grid(x, weights, target.params.bits - 1)
                  : fit_int_grid(x, weights, target.params.bits, int_group_codec(*target.codec)->kind());
}

int IntegerGrid::nearest(const IntGrid& grid, float x) const {
  return balanced ? nearest_balanced_level(grid, x, target.params.bits - 1)
                  : nearest_int_level(grid, x, target.params.bits);
}

void check_parameters(const Target& target) {
  const Codec& codec = *target.codec;
  if (block_format(codec) != nullptr && (target.params.bits != 0 || target.params.group_size != 0)) {
    throw UsageError(fmt::format("{} has one width and one size of groups", codec.name()), {},
                     "leave out bits and group, or name INT_SYM or INT_ASYM");
  }
  try {
    codec.parts(Shape{1, std::max<std::uint64_t>(1, codec.column_alignment(target.params))}, target.params);
  } catch (const Error& error) {
    throw UsageError(error.problem(), error.where(), error.remedy());
  }
}

std::optional<IntegerGrid> integer_grid(const Target& target) {
  if (int_group_codec(*target.codec) != nullptr) return IntegerGrid{target};
  if (balanced_codec(*target.codec) != nullptr) {
    CodecParams params = target.params;
    ++params.bits;
    return IntegerGrid{{&codec_named("INT_SYM"), params}, true};
  }
  for (const BlockGrid& grid : kBlockGrids) {
    if (grid.codec == target.codec->name()) {
      return IntegerGrid{{&codec_named("INT_SYM"), {.bits = grid.bits, .group_size = static_cast<int>(kGgufBlock)}}};
    }
  }
  return std::nullopt;
}

PackedTensor from_integer_grid(const PackedTensor& integers, const Target& target) {
  if (integers.codec == target.codec) return integers;
  if (balanced_codec(*target.codec) != nullptr) return balanced_from_integers(integers);
  const BlockFormat& format = *block_format(*target.codec);
  const std::uint64_t rows = integers.shape.rows(), cols = integers.shape.cols(), blocks = cols / kGgufBlock;
  if (cols % kGgufBlock != 0) fail(integers.name, "rows of {} do not divide into blocks of {}", cols, kGgufBlock);
  auto bytes = std::make_shared<std::vector<std::byte>>(rows * blocks * format.block_bytes);
  std::vector<std::uint8_t> levels(cols);
  std::vector<IntGrid> grids(blocks);
  std::byte* out = bytes->data();
  for (std::uint64_t row = 0; row < rows; ++row) {
    int_group_levels(integers, row, levels);
    int_group_grids(integers, row, grids);
    for (std::uint64_t b = 0; b < blocks; ++b, out += format.block_bytes) {
      write_block(integers.params.bits, half_from_float(grids[b].scale), levels.data() + b * kGgufBlock, out);
    }
  }
  return packed_blocks(integers.name, *target.codec, integers.shape, Bytes(*bytes, integers.name, bytes));
}

}  // namespace lathe::quant
