#include "text/grammar/utf8_ranges.h"

#include <algorithm>
#include <string>

#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

// `first` and `last` have encodings of the same length. Cuts where a lower byte does not run through all of 80..BF
// while a higher one varies.
void split(char32_t first, char32_t last, int length, std::vector<std::vector<ByteRange>>& out) {
  for (int i = 1; i < length; ++i) {
    const char32_t low = (char32_t{1} << (6 * i)) - 1;
    if ((first & ~low) == (last & ~low)) break;
    if ((first & low) != 0) {
      split(first, first | low, length, out);
      return split((first | low) + 1, last, length, out);
    }
    if ((last & low) != low) {
      split(first, (last & ~low) - 1, length, out);
      return split(last & ~low, last, length, out);
    }
  }
  std::string a, b;
  append_utf8(a, first);
  append_utf8(b, last);
  std::vector<ByteRange> bytes;
  for (std::size_t i = 0; i < a.size(); ++i)
    bytes.push_back({static_cast<std::uint8_t>(a[i]), static_cast<std::uint8_t>(b[i])});
  out.push_back(std::move(bytes));
}

}  // namespace

std::vector<std::vector<ByteRange>> utf8_sequences(const std::vector<CodeRange>& ranges) {
  static constexpr CodeRange kLengths[] = {
      {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, kLastCodePoint}};
  static constexpr int kBytes[] = {1, 2, 3, 3, 4};
  std::vector<std::vector<ByteRange>> out;
  for (const CodeRange& range : ranges) {
    for (std::size_t i = 0; i < std::size(kLengths); ++i) {
      const char32_t first = std::max(range.first, kLengths[i].first), last = std::min(range.last, kLengths[i].last);
      if (first <= last) split(first, last, kBytes[i], out);
    }
  }
  return out;
}

}  // namespace lathe::text::grammar
