#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

std::size_t skip_space_right(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char c = decode_utf8(text, at);
    if (!is_white_space(c.code)) break;
    at += c.length;
  }
  return at;
}

// The start of the character that ends at `at`.
std::size_t previous_char(std::string_view text, std::size_t at) {
  std::size_t back = 1;
  while (back < 4 && back < at && (static_cast<unsigned char>(text[at - back]) & 0xc0) == 0x80) ++back;
  return decode_utf8(text, at - back).length == back ? at - back : at - 1;
}

std::size_t skip_space_left(std::string_view text, std::size_t at, std::size_t floor) {
  while (at > floor) {
    const std::size_t before = previous_char(text, at);
    if (before < floor || !is_white_space(decode_utf8(text, before).code)) break;
    at = before;
  }
  return at;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_word_char(decode_utf8(text, previous_char(text, begin)).code)) return false;
  return end >= text.size() || !is_word_char(decode_utf8(text, end).code);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const TokenizerSpec& spec, bool normalized, const Normalizer* normalizer) {
  struct Key {
    std::uint32_t node;
    std::int32_t token;
  };
  std::vector<Key> keys;
  for (const AddedToken& token : spec.added) {
    if (token.normalized != normalized) continue;
    std::string piece = spec.pieces[static_cast<std::size_t>(token.id)];
    if (normalizer != nullptr) piece = normalizer->apply(piece);
    if (piece.empty()) continue;
    const auto index = static_cast<std::int32_t>(tokens_.size());
    const std::string back(piece.rbegin(), piece.rend());
    tokens_.push_back(token);
    spellings_.push_back(piece);
    keys.push_back({reversed_.insert(back, index), index});
  }
  if (tokens_.empty()) return;

  // Breadth first, so that a node's fall-back (always shorter) is known before the node.
  const std::size_t nodes = reversed_.nodes();
  fall_back_.assign(nodes, ByteTrie::kRoot);
  longest_.assign(nodes, -1);
  longest_plain_.assign(nodes, -1);
  for (const Key& key : keys) {
    longest_[key.node] = key.token;
    if (!tokens_[static_cast<std::size_t>(key.token)].special) longest_plain_[key.node] = key.token;
  }
  struct Edge {
    std::uint32_t node, parent;
    unsigned char byte;
  };
  // Walking every spelling once lists each edge; a stable order by depth is breadth first.
  std::vector<std::vector<Edge>> by_depth;
  std::vector<bool> listed(nodes, false);
  for (const std::string& spelling : spellings_) {
    std::uint32_t node = ByteTrie::kRoot;
    for (std::size_t i = spelling.size(), depth = 0; i-- > 0; ++depth) {
      const auto byte = static_cast<unsigned char>(spelling[i]);
      const std::uint32_t next = reversed_.child(node, byte);
      if (!listed[next]) {
        listed[next] = true;
        if (by_depth.size() <= depth) by_depth.resize(depth + 1);
        by_depth[depth].push_back({next, node, byte});
      }
      node = next;
    }
  }
  for (const auto& level : by_depth) {
    for (const Edge& edge : level) {
      std::uint32_t fall = ByteTrie::kRoot;
      if (edge.parent != ByteTrie::kRoot) {
        std::uint32_t at = fall_back_[edge.parent];
        while ((fall = reversed_.child(at, edge.byte)) == ByteTrie::kNone && at != ByteTrie::kRoot) at = fall_back_[at];
        if (fall == ByteTrie::kNone) fall = ByteTrie::kRoot;
      }
      fall_back_[edge.node] = fall;
      if (longest_[edge.node] < 0) longest_[edge.node] = longest_[fall];
      if (longest_plain_[edge.node] < 0) longest_plain_[edge.node] = longest_plain_[fall];
    }
  }
}

void AddedTokenFinder::find_all(std::string_view text, bool special, std::vector<Found>& found) const {
  const auto& longest = special ? longest_ : longest_plain_;
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t at = text.size(); at-- > 0;) {
    const auto byte = static_cast<unsigned char>(text[at]);
    std::uint32_t next;
    while ((next = reversed_.child(node, byte)) == ByteTrie::kNone && node != ByteTrie::kRoot) node = fall_back_[node];
    node = next == ByteTrie::kNone ? ByteTrie::kRoot : next;
    if (longest[node] >= 0) found.push_back({at, longest[node]});
  }
  std::reverse(found.begin(), found.end());
}

void AddedTokenFinder::split(std::string_view text, bool special, std::vector<Fragment>& out) const {
  std::vector<Found> found;
  if (!tokens_.empty()) find_all(text, special, found);
  std::size_t done = 0;
  for (const Found& f : found) {
    if (f.begin < done) continue;
    const AddedToken& token = tokens_[static_cast<std::size_t>(f.token)];
    std::size_t begin = f.begin, end = f.begin + spellings_[static_cast<std::size_t>(f.token)].size();
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = skip_space_left(text, begin, done);
    if (token.rstrip) end = skip_space_right(text, end);
    if (begin > done) out.push_back({text.substr(done, begin - done), kNoToken});
    out.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), kNoToken});
}

}  // namespace lathe::text
