#include "formats/added_token_reader.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "formats/tokenizer_json_parts.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

using text::AddedToken;
using text::TokenKind;

constexpr std::int64_t kMaxHoles = 1 << 20;

}  // namespace

AddedTokenReader::AddedTokenReader(text::TokenizerSpec& spec)
    : spec_(spec), holes_(std::count(spec.kinds.begin(), spec.kinds.end(), TokenKind::kUnused)) {
  for (std::size_t i = 0; i < spec.added.size(); ++i) places_.emplace(spec.added[i].id, i);
}

void AddedTokenReader::make_room(std::int64_t id, std::string_view content, std::string_view where) {
  const auto size = static_cast<std::int64_t>(spec_.size());
  if (id < 0 || id >= size + kMaxHoles) {
    fail(where, "added token {} has id {}, but the vocabulary has {} entries", text::quoted(content), id, size);
  }
  if (id < size) {
    if (spec_.kinds[static_cast<std::size_t>(id)] == TokenKind::kUnused) --holes_;
    return;
  }
  if (id > size && holes_ + id - size > kMaxHoles) {
    fail(where, "added token {} has id {}, which leaves more than {} ids unused", text::quoted(content), id, kMaxHoles);
  }
  holes_ += id - size;
  spec_.pieces.resize(static_cast<std::size_t>(id) + 1);
  spec_.kinds.resize(spec_.size(), TokenKind::kUnused);
}

void AddedTokenReader::add(std::int64_t id, const nlohmann::json& entry, std::string_view where) {
  auto content = value_or<std::string>(entry, "content", "", where);
  make_room(id, content, where);
  AddedToken token{.id = static_cast<text::TokenId>(id)};
  token.special = value_or(entry, "special", false, where);
  token.lstrip = value_or(entry, "lstrip", false, where);
  token.rstrip = value_or(entry, "rstrip", false, where);
  token.single_word = value_or(entry, "single_word", false, where);
  token.normalized = value_or(entry, "normalized", !token.special, where);
  const auto at = static_cast<std::size_t>(id);
  spec_.pieces[at] = std::move(content);
  spec_.kinds[at] = token.special ? TokenKind::kControl : TokenKind::kUserDefined;
  const auto [place, is_new] = places_.emplace(id, spec_.added.size());
  if (is_new) {
    spec_.added.push_back(token);
  } else {
    spec_.added[place->second] = token;
  }
}

}  // namespace lathe::formats
