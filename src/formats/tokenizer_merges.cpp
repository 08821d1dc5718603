#include "formats/tokenizer_merges.h"

#include <utility>

#include "base/error.h"
#include "text/model.h"
#include "text/utf8.h"

namespace lathe::formats {

using text::kNoToken;
using text::TokenId;

MergeReader::MergeReader(text::TokenizerSpec& spec, std::string where)
    : spec_(spec), where_(std::move(where)), index_(&spec.pieces, spec.size()) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (text::is_plain(spec.kinds[id])) index_.insert(static_cast<std::int32_t>(id));
  }
}

void MergeReader::add(std::string_view merge) {
  const std::size_t space = merge.find(' ', 1);
  if (merge.empty() || space == std::string_view::npos || space + 1 >= merge.size()) {
    fail(where_, "merge {} is not two pieces: {}", spec_.merges.size(), text::quoted(merge));
  }
  add(merge.substr(0, space), merge.substr(space + 1));
}

void MergeReader::add(std::string_view left, std::string_view right) {
  // Inside a word pieces may carry a prefix, which the joined piece has only once.
  std::string_view tail = right;
  const std::string& prefix = spec_.continuing_prefix;
  if (!prefix.empty() && tail.size() > prefix.size() && tail.substr(0, prefix.size()) == prefix)
    tail.remove_prefix(prefix.size());
  result_.assign(left);
  result_.append(tail);
  const TokenId l = index_.find(left), r = index_.find(right), result = index_.find(result_);
  if (l == kNoToken || r == kNoToken || result == kNoToken || left.empty() || right.empty()) {
    const std::string_view missing = l == kNoToken ? left : r == kNoToken ? right : std::string_view(result_);
    fail(where_, "merge {} of {} and {} needs {}, which is not in the vocabulary", spec_.merges.size(),
         text::quoted(left), text::quoted(right), text::quoted(missing));
  }
  spec_.merges.push_back({l, r, result});
}

void check_unique_pieces(const text::TokenizerSpec& spec) {
  text::StringIndex<std::vector<std::string>> index(&spec.pieces, spec.size());
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (!text::is_plain(spec.kinds[id]) || spec.pieces[id].empty()) continue;
    const TokenId other = index.insert(static_cast<std::int32_t>(id));
    if (other != kNoToken)
      fail(spec.name, "tokens {} and {} are both spelled {}", other, id, text::quoted(spec.pieces[id]));
  }
}

}  // namespace lathe::formats
