// Text from token ids as they are produced. Only complete UTF-8 leaves it; bytes that may still become a character
// wait.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace lathe::text {

class StreamDecoder {
 public:
  // `previous` is the token before the first one pushed (the last of the prompt), kNoToken at the start of a text; it
  // decides about the leading space as decode() would.
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {}, TokenId previous = kNoToken);

  // The text that `id` completes; often empty in the middle of a character.
  std::string push(TokenId id);
  // The end of the stream: an unfinished character comes out as U+FFFD.
  std::string finish();
  // Bytes held back (0 to 3).
  std::size_t pending() const { return pending_.size(); }

 private:
  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  TokenId previous_;
  std::string pending_;
};

}  // namespace lathe::text
