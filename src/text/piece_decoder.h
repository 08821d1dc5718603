// Ids back to text, one token at a time: what a token adds depends on itself and on the token before it.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer_spec.h"

namespace lathe::text {

class PieceDecoder {
 public:
  // The spec outlives the decoder.
  explicit PieceDecoder(const TokenizerSpec& spec);

  // See Tokenizer::append_bytes; `id` and `previous` are inside the vocabulary.
  bool append(TokenId previous, TokenId id, const DecodeOptions& options, std::string& out) const;
  // What `id` adds in the middle of a text, whatever stands before it.
  void append_inside(TokenId id, std::string& out) const;

 private:
  std::string inner_bytes(TokenId id) const;
  void append_joined(TokenId id, bool first, std::string& out) const;
  bool ends_word(TokenId id) const;
  bool starts_text(TokenId previous) const;

  const TokenizerSpec& spec_;
  std::vector<bool> literal_;  // control and added tokens, written as they are spelled
  std::vector<bool> fences_;   // tokens that separate texts: control tokens, and added tokens found in the raw text
};

}  // namespace lathe::text
