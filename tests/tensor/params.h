// Parameters that suit a codec, for tests of the whole table.
#pragma once

#include "base/error.h"
#include "tensor/codec.h"

namespace lathe {

// Groups of weights of 4 bits, or of the codec's own width; block codecs ignore both, and some have neither.
inline CodecParams params_of(const Codec& codec, int group_size = 32) {
  if (codec.usual_params() == CodecParams{}) return {};
  try {
    codec.column_alignment({.bits = 4, .group_size = group_size});
    return {.bits = 4, .group_size = group_size};
  } catch (const Error&) {
    return {.bits = codec.usual_params().bits, .group_size = group_size};
  }
}

}  // namespace lathe
