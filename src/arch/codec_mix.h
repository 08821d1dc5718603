// Mixes of codecs under the names that people know from llama.cpp's quantizer: one codec for most of a model's
// matrices, more bits for those that suffer most from few. A mix says where which codec stands, not how the values are
// chosen.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "arch/architecture.h"
#include "tensor/codec.h"

namespace lathe::arch {

struct CodecMix {
  std::string_view name;         // "Q4_K_M"; ends in _S, _M or _L, which no codec's name does
  std::string_view description;  // one line for people
  std::string_view body;         // the codec of every matrix that no rule names
  std::uint32_t file_type;       // GGUF's general.file_type
};

std::span<const CodecMix> codec_mixes();
// Without regard to case; nullptr when there is none.
const CodecMix* find_codec_mix(std::string_view name);

// The codec of a matrix: `tensor` is its canonical name ("blk.3.attn_v.weight"), `columns` the width of its rows. Rows
// that do not divide into blocks of 256 get a codec of about as many bits with blocks of 32, or else F16.
const Codec& codec_in_mix(const CodecMix& mix, const Architecture& architecture, std::string_view tensor,
                          std::uint64_t columns);

// The name of a codec or a mix as the tables spell it; throws codec_named's Error when it is neither.
std::string_view codec_or_mix_named(std::string_view name);

}  // namespace lathe::arch
