// How the input of a matrix product is prepared, once, for all linear layers that read it. A kernel names the format it
// wants; the backend prepares each format at most once per input.
#pragma once

#include <cstdint>
#include <string_view>

namespace lathe {

enum class ActivationFormat : std::uint8_t {
  kF32,      // as it is
  kQ8Block,  // int8 in blocks of 32, one float scale and the sum of the block's integers each
  kQ8Row,    // int8 with one float scale per row, and sums of its integers
  kLut,      // tables of signed sums of 4 activations, one float scale per 64 columns
  kPlanes,   // integers of 1 to 8 bits as bit planes, one float scale and zero point per row
};

std::string_view activation_format_name(ActivationFormat format);

}  // namespace lathe
