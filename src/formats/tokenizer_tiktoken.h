// tiktoken rank files (Llama 3's tokenizer.model, cl100k_base, Qwen, Whisper): one line per token, its bytes in base64
// and its rank. The file says neither how words are cut nor which control tokens follow; that is known per family.
#pragma once

#include <optional>
#include <string_view>

#include "base/checked.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

enum class TiktokenFamily { kGpt2, kCl100k, kO200k, kLlama3, kQwen, kWhisper, kWhisperEnglish };

// "gpt2", "cl100k", "o200k", "llama3", "qwen", "whisper", "whisper-english"; nullopt for another name.
std::optional<TiktokenFamily> tiktoken_family(std::string_view name);

// Whether `file` starts like a rank file.
bool is_tiktoken(const Bytes& file);

// Without a family it is told by the number of ranks, which differs between the known files.
text::TokenizerSpec parse_tiktoken(const Bytes& file, std::optional<TiktokenFamily> family = std::nullopt);

}  // namespace lathe::formats
