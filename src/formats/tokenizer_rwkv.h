// RWKV "World" vocabularies: the text file of Python literals, and the escaped spelling that GGUF keeps of it.
#pragma once

#include <string>
#include <string_view>

#include "base/checked.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// A file of lines `id literal length`, the literal being 'text' or b'bytes'. Id 0 ends a text and is not in the file.
text::TokenizerSpec parse_rwkv_vocabulary(const Bytes& file);

// "\\x00", "\\n", "\\'" ... to bytes, as Python spells them. `id` is for the message.
std::string unescape_rwkv_piece(std::string_view escaped, std::string_view where, std::size_t id);
// The other way, in ASCII.
std::string escape_rwkv_piece(std::string_view bytes);

}  // namespace lathe::formats
