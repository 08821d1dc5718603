#include "text/stream_decoder.h"

#include <utility>

#include "text/utf8.h"

namespace lathe::text {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options, TokenId previous)
    : tokenizer_(tokenizer), options_(options), previous_(previous) {}

std::string StreamDecoder::push(TokenId id) {
  if (tokenizer_.append_bytes(previous_, id, options_, pending_)) previous_ = id;
  const std::size_t ready = pending_.size() - incomplete_utf8_suffix(pending_);
  std::string text = to_valid_utf8(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, ready);
  return text;
}

std::string StreamDecoder::finish() {
  const std::string rest = std::exchange(pending_, {});
  return rest.empty() ? std::string() : "\uFFFD";
}

}  // namespace lathe::text
