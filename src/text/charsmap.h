// SentencePiece's precompiled character map: a double-array trie (Aoe 1989) from byte strings to their replacements,
// stored as bytes in .model files, tokenizer.json and GGUF.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::text {

class Charsmap {
 public:
  // Layout: uint32 trie size in bytes, that many bytes of uint32 units, then replacements, each ending in a zero byte.
  // Throws Error naming `where` when the parts do not fit. Empty bytes make a map without entries.
  Charsmap(std::string_view bytes, std::string_view where);

  // Told of each size the result is about to reach; throws when it is too much.
  using SizeCheck = std::function<void(std::size_t)>;

  // Replaces the longest match at each place, left to right; other characters stay.
  std::string apply(std::string_view text, const SizeCheck& check) const;
  // As the Hugging Face library does: a grapheme cluster of up to 5 bytes that begins with an entry becomes the
  // replacement of its shortest such entry as a whole; in others each character is looked up alone.
  std::string apply_by_grapheme(std::string_view text, const SizeCheck& check) const;

 private:
  // Longest (or shortest) entry at the start of `text`: its length (0 when none) and replacement.
  std::size_t find(std::string_view text, bool shortest, std::string_view& replacement) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace lathe::text
