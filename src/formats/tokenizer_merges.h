// What several tokenizer readers share: merge lists that name pieces by their text, and the check that pieces are
// unique.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/hash_index.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Turns merges written as text into ids of spec.pieces, which must not change meanwhile. A merge whose parts or result
// are not pieces is an Error naming `where` and the merge.
class MergeReader {
 public:
  MergeReader(text::TokenizerSpec& spec, std::string where);
  // "left right": split at the first space that is not the first byte.
  void add(std::string_view merge);
  void add(std::string_view left, std::string_view right);

 private:
  text::TokenizerSpec& spec_;
  std::string where_, result_;
  text::StringIndex<std::vector<std::string>> index_;
};

// Throws Error naming the two ids when two pieces that text can become are spelled alike.
void check_unique_pieces(const text::TokenizerSpec& spec);

}  // namespace lathe::formats
