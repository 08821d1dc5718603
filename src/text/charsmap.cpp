#include "text/charsmap.h"

#include <cstring>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

// Fields of a double-array unit (the layout of the Darts-clone library that SentencePiece stores).
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t leaf_value(std::uint32_t unit) { return unit & 0x7fffffffu; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000ffu; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view bytes, std::string_view where) {
  if (bytes.empty()) return;
  std::uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof trie_bytes) fail(where, "the normalizer's character map is cut off");
  std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  bytes.remove_prefix(sizeof trie_bytes);
  if (trie_bytes > bytes.size() || trie_bytes % 4 != 0 || trie_bytes == 0) {
    fail(where, "the normalizer's character map has a trie of {} bytes in {} bytes", trie_bytes, bytes.size());
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), bytes.data(), trie_bytes);
  replacements_ = bytes.substr(trie_bytes);
  if (replacements_.empty() || replacements_.back() != '\0') fail(where, "the normalizer's character map has no end");
}

std::size_t Charsmap::find(std::string_view text, bool shortest, std::string_view& replacement) const {
  std::size_t length = 0;
  std::size_t node = offset(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (node >= units_.size()) break;
    if (has_leaf(unit)) {
      const std::uint32_t at = leaf_value(units_[node]);
      if (at >= replacements_.size()) break;
      length = i + 1;
      replacement = std::string_view(replacements_.c_str() + at);  // ends at its zero byte; the last byte is zero
      if (shortest) break;
    }
  }
  return length;
}

std::string Charsmap::apply(std::string_view text, const SizeCheck& check) const {
  if (units_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::string_view replacement;
    // No map has entries this long; the cap keeps a hostile trie linear.
    const std::size_t length = find(text.substr(at, 256), false, replacement);
    if (length > 0) {
      check(out.size() + replacement.size());
      out.append(replacement);
      at += length;
    } else {
      const std::size_t step = decode_utf8(text, at).length;
      out.append(text.substr(at, step));
      at += step;
    }
  }
  return out;
}

std::string Charsmap::apply_by_grapheme(std::string_view text, const SizeCheck& check) const {
  if (units_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  const auto put = [&](std::string_view part) {
    std::string_view replacement;
    if (find(part, true, replacement) == 0) return false;
    check(out.size() + replacement.size());
    out.append(replacement);
    return true;
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view grapheme = first_grapheme(text.substr(at));
    at += grapheme.size();
    if (grapheme.size() < 6 && put(grapheme)) continue;
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::size_t length = decode_utf8(grapheme, i).length;
      if (!put(grapheme.substr(i, length))) out.append(grapheme.substr(i, length));
      i += length;
    }
  }
  return out;
}

}  // namespace lathe::text
