// WordPiece (Schuster & Nakajima 2012, as BERT uses it): from the left, the longest piece that fits; pieces inside a
// word carry a prefix ("##"). A word with a part that fits nothing is unknown as a whole.
#include <algorithm>

#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

class WordPiece final : public Model {
 public:
  explicit WordPiece(const TokenizerSpec& spec)
      : unknown_(spec.special.unknown),
        max_chars_(spec.max_word_chars),
        starts_(&spec.pieces, spec.size()),
        continues_(&inner_, spec.size()) {
    const std::string& prefix = spec.continuing_prefix;
    for (std::size_t id = 0; id < spec.size(); ++id) {
      const std::string& piece = spec.pieces[id];
      const bool inside =
          !prefix.empty() && piece.size() > prefix.size() && piece.compare(0, prefix.size(), prefix) == 0;
      inner_.push_back(inside ? std::string_view(piece).substr(prefix.size()) : std::string_view(piece));
      if (piece.empty() || !is_plain(spec.kinds[id])) continue;
      longest_ = std::max(longest_, piece.size());
      starts_.insert(static_cast<std::int32_t>(id));
      if (inside || prefix.empty()) continues_.insert(static_cast<std::int32_t>(id));
    }
  }

  void encode(std::string_view word, MergeScratch&, std::vector<TokenId>& out) const override {
    const std::size_t start = out.size();
    if (max_chars_ > 0 && count_chars(word) > max_chars_) return give_up(start, out);
    for (std::size_t at = 0; at < word.size();) {
      std::size_t length = std::min(longest_, word.size() - at);
      TokenId id = kNoToken;
      for (; length > 0; --length) {
        if (at + length < word.size() && (static_cast<unsigned char>(word[at + length]) & 0xc0) == 0x80) continue;
        id = at == 0 ? starts_.find(word.substr(0, length)) : continues_.find(word.substr(at, length));
        if (id != kNoToken) break;
      }
      if (id == kNoToken) return give_up(start, out);
      out.push_back(id);
      at += length;
    }
  }

 private:
  void give_up(std::size_t start, std::vector<TokenId>& out) const {
    out.resize(start);
    if (unknown_ != kNoToken) out.push_back(unknown_);
  }

  TokenId unknown_;
  std::uint32_t max_chars_;
  std::size_t longest_ = 0;
  StringArena inner_;  // pieces without their prefix
  StringIndex<std::vector<std::string>> starts_;
  StringIndex<StringArena> continues_;
};

}  // namespace

std::unique_ptr<Model> make_word_piece(const TokenizerSpec& spec) { return std::make_unique<WordPiece>(spec); }

}  // namespace lathe::text
