// llama2.c tokenizer files (tok512.bin, tokenizer.bin): int32 longest piece in bytes, then per token float32 score,
// int32 length and the bytes. The number of tokens is the model's vocabulary size; the file does not say it.
#pragma once

#include <cstdint>
#include <optional>

#include "base/checked.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Without `vocab_size` every token up to the end of the file is read.
text::TokenizerSpec parse_llama2c_tokenizer(const Bytes& file, std::optional<std::uint64_t> vocab_size = std::nullopt);

}  // namespace lathe::formats
