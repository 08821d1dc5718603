// Ranges of code points as ranges of their UTF-8 bytes, so that an automaton over bytes can match characters.
#pragma once

#include <cstdint>
#include <vector>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

struct ByteRange {
  std::uint8_t first, last;  // both included
  // NOLINTNEXTLINE(modernize-use-nullptr): takes the 0 that the comparison is rewritten with for a pointer
  auto operator<=>(const ByteRange&) const = default;
};

// Each element is one to four byte ranges; together they match exactly the encodings of the characters in `ranges`.
// Surrogates have no encoding and are left out.
std::vector<std::vector<ByteRange>> utf8_sequences(const std::vector<CodeRange>& ranges);

}  // namespace lathe::text::grammar
