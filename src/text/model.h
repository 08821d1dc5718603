// What tells the tokenizer families apart: how one word becomes ids. Everything around it (added tokens, normalizer,
// pre-tokenizer, decoding) is shared and lives in pipeline.cpp.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "text/merge.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of `word` (not empty; any bytes).
  virtual void encode(std::string_view word, MergeScratch& scratch, std::vector<TokenId>& out) const = 0;
};

// The spec outlives the model.
std::unique_ptr<Model> make_byte_bpe(const TokenizerSpec& spec);    // byte_bpe.cpp: kBpe with byte_level
std::unique_ptr<Model> make_char_bpe(const TokenizerSpec& spec);    // char_bpe.cpp: kBpe without, and kSpm
std::unique_ptr<Model> make_unigram(const TokenizerSpec& spec);     // unigram.cpp
std::unique_ptr<Model> make_word_piece(const TokenizerSpec& spec);  // word_piece.cpp
std::unique_ptr<Model> make_word_level(const TokenizerSpec& spec);  // word_level.cpp
std::unique_ptr<Model> make_trie(const TokenizerSpec& spec);        // trie_model.cpp

// Entries that text may become without being found as an added token.
inline bool is_plain(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
}

}  // namespace lathe::text
