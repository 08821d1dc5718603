// The vocabulary of a GGUF file (keys tokenizer.ggml.*) to and from a TokenizerSpec.
#pragma once

#include "formats/metadata.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

bool has_gguf_tokenizer(const Metadata& metadata);

// Throws Error naming metadata.file() for a vocabulary that is absent, malformed, or of a kind Lathe does not know.
text::TokenizerSpec read_gguf_tokenizer(const Metadata& metadata);

// Sets the tokenizer.ggml.* keys. A tokenizer that these keys cannot describe is written with its tokenizer.json beside
// them (key tokenizer.huggingface.json), which read_gguf_tokenizer() prefers.
void write_gguf_tokenizer(const text::TokenizerSpec& spec, Metadata& metadata);

}  // namespace lathe::formats
