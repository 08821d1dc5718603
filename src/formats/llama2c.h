// llama2.c checkpoints (.bin): the headerless float32 layout (version 0), and versions 1 (float32) and 2 (int8 in
// groups) behind the magic "ak42". docs/formats/llama2c.md describes them.
#pragma once

#include "formats/model_file.h"

namespace lathe::formats {

// By the magic, or, for version 0, by a header of seven plausible integers that explain the file's exact size.
bool is_llama2c(const Bytes& bytes);

// Without a tokenizer. Throws an Error naming the file.
ModelFile read_llama2c(const Bytes& bytes, const LoadOptions& options);

}  // namespace lathe::formats
