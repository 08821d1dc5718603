// Hugging Face tokenizer.json (the tokenizers library) to and from a TokenizerSpec, and the files beside it that give
// tokens their roles.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Models BPE, Unigram, WordPiece and WordLevel with the normalizers, pre-tokenizers, post-processors and decoders that
// published models use; another one is an Error naming it. Roles that only tokenizer_config.json states are guessed
// from the spelling of the control tokens ("<s>", "[CLS]", "<|endoftext|>").
text::TokenizerSpec parse_tokenizer_json(std::string_view json, std::string_view name);

// tokenizer_config.json or special_tokens_map.json: roles, added tokens, and whether BOS and EOS are put around a text.
void apply_tokenizer_config(std::string_view json, std::string_view name, text::TokenizerSpec& spec);

// generation_config.json or config.json: bos_token_id, pad_token_id, and eos_token_id as one id or a list.
void apply_generation_config(std::string_view json, std::string_view name, text::TokenizerSpec& spec);

// A tokenizer.json that gives the same ids as `spec` (SentencePiece BPE becomes a list of merges). Throws Error for the
// RWKV family, which the format cannot say.
std::string write_tokenizer_json(const text::TokenizerSpec& spec);
// The tokenizer_config.json beside it: the roles.
std::string write_tokenizer_config(const text::TokenizerSpec& spec);

}  // namespace lathe::formats
