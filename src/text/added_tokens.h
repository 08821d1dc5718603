// Finds added tokens ("<|im_end|>", "<mask>", runs of spaces) in a text in time linear in its length, the longest at
// the leftmost place first (Aho & Corasick 1975, run from the end of the text).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/normalizer.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

// A stretch of plain text, or one added token (id != kNoToken).
struct Fragment {
  std::string_view text;
  TokenId id = kNoToken;
};

class AddedTokenFinder {
 public:
  // Those of spec.added whose `normalized` is as given, spelled as their pieces or, with a `normalizer`, as it makes
  // of them.
  AddedTokenFinder(const TokenizerSpec& spec, bool normalized, const Normalizer* normalizer = nullptr);

  bool empty() const { return tokens_.empty(); }
  // Appends the fragments of `text` to `out`; empty stretches are left out. Without `special`, control tokens stay
  // text.
  void split(std::string_view text, bool special, std::vector<Fragment>& out) const;

 private:
  struct Found {
    std::size_t begin;
    std::int32_t token;  // index into tokens_
  };
  void find_all(std::string_view text, bool special, std::vector<Found>& found) const;

  std::vector<AddedToken> tokens_;
  std::vector<std::string> spellings_;
  ByteTrie reversed_;  // spellings back to front
  // Per node: the longest proper suffix that is a node, and the longest key (with and without control tokens) that ends
  // there.
  std::vector<std::uint32_t> fall_back_;
  std::vector<std::int32_t> longest_, longest_plain_;
};

}  // namespace lathe::text
