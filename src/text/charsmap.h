// SentencePiece's precompiled character map: a double-array trie (Aoe 1989) from byte strings to their replacements,
// stored as bytes in .model files, tokenizer.json and GGUF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::text {

class Charsmap {
 public:
  // Layout: uint32 trie size in bytes, that many bytes of uint32 units, then replacements, each ending in a zero byte.
  // Throws Error naming `where` when the parts do not fit. Empty bytes make a map without entries.
  Charsmap(std::string_view bytes, std::string_view where);

  // Replaces the longest match at each place, left to right; other characters stay.
  std::string apply(std::string_view text) const;

 private:
  // Longest entry at the start of `text`: its length (0 when none) and replacement.
  std::size_t longest(std::string_view text, std::string_view& replacement) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace lathe::text
