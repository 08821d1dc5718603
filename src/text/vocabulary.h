// Look-ups that several model families share: pieces by their text, byte tokens, what to do with characters outside the
// vocabulary, and where a text may be cut before a space without changing its encoding.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include "text/hash_index.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

// Ids of "<0x00>".."<0xFF>", kNoToken where absent.
std::array<TokenId, 256> byte_token_ids(const TokenizerSpec& spec);

// Writes characters outside the vocabulary: as byte tokens where the vocabulary has them all, else as the unknown token
// (neighbours fused when the spec says so), else not at all.
class UnknownWriter {
 public:
  explicit UnknownWriter(const TokenizerSpec& spec);
  // `start` is where the current word's ids begin in `out`: unknown tokens fuse only within a word.
  void write(std::string_view bytes, std::size_t start, std::vector<TokenId>& out) const;

 private:
  std::array<TokenId, 256> byte_tokens_;
  TokenId unknown_;
  bool byte_fallback_, fuse_;
};

// "▁", which stands for a space in SentencePiece vocabularies.
inline constexpr std::string_view kSpaceMark = "\u2581";

// SentencePiece models see a whole text as one word. Where no piece has a "▁" after another character, cutting before
// each "▁" that follows another character gives the same ids, and short words are fast.
class SpaceCutter {
 public:
  explicit SpaceCutter(const TokenizerSpec& spec);
  // Length of the first part of `text` that can be encoded on its own.
  std::size_t first_part(std::string_view text) const;

 private:
  std::array<bool, 256> joins_{};  // last bytes of characters that some piece has before a "▁"
};

// Whether a word that is a piece really encodes to that piece: found out once per piece, remembered without locks.
class WholeWordCache {
 public:
  explicit WholeWordCache(std::size_t size) : states_(new std::atomic<char>[size]()) {}
  enum State : char { kUnknown = 0, kYes = 1, kNo = 2 };
  State get(TokenId id) const {
    return static_cast<State>(states_[static_cast<std::size_t>(id)].load(std::memory_order_relaxed));
  }
  void set(TokenId id, bool whole) const {
    states_[static_cast<std::size_t>(id)].store(whole ? kYes : kNo, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<std::atomic<char>[]> states_;
};

}  // namespace lathe::text
