// Byte-pair encoding over characters, with byte tokens for characters outside the vocabulary. Two rules for the order
// of merges: a list of pairs (Hugging Face BPE without ByteLevel), or the score of the concatenation (SentencePiece
// BPE).
#include <algorithm>
#include <numeric>
#include <string>

#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

class CharBpe final : public Model {
 public:
  explicit CharBpe(const TokenizerSpec& spec)
      : spec_(spec),
        by_score_(spec.type == ModelType::kSpm),
        by_text_(by_score_ || spec.merge_by_rank),
        affixes_(!spec.continuing_prefix.empty() || !spec.word_suffix.empty()),
        unknown_(spec),
        cutter_(spec),
        cut_(spec.continuing_prefix.empty() && spec.word_suffix.empty()),
        index_(&spec.pieces, spec.size()),
        pairs_(spec.merges.size()),
        whole_(spec.size()) {
    for (std::size_t id = 0; id < spec.size(); ++id) {
      if (is_plain(spec.kinds[id]) && !spec.pieces[id].empty()) index_.insert(static_cast<std::int32_t>(id));
      has_unused_ = has_unused_ || (by_score_ && spec.kinds[id] == TokenKind::kUnused);
    }
    for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
      const Merge& merge = spec.merges[rank];
      pairs_.insert(pair_key(merge.left, merge.right),
                    static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(merge.result));
    }
    if (by_score_) rank_by_score();
  }

  void encode(std::string_view text, MergeScratch& scratch, std::vector<TokenId>& out) const override {
    const std::size_t start = out.size();
    while (!text.empty()) {
      const std::size_t length = cut_ ? cutter_.first_part(text) : text.size();
      encode_word(text.substr(0, length), start, scratch, out);
      text.remove_prefix(length);
    }
  }

 private:
  // Equal scores share a rank, so that the leftmost of them merges first.
  void rank_by_score() {
    std::vector<TokenId> order(spec_.size());
    std::iota(order.begin(), order.end(), 0);
    const auto score = [&](TokenId id) { return spec_.scores[static_cast<std::size_t>(id)]; };
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return score(a) > score(b); });
    rank_.resize(spec_.size());
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
      rank_[static_cast<std::size_t>(order[i])] = rank;
    }
  }

  TokenId find_symbol(std::string_view word, std::size_t at, std::size_t length) const {
    if (!affixes_) return index_.find(word.substr(at, length));
    std::string spelled;
    if (at > 0) spelled += spec_.continuing_prefix;
    spelled.append(word.substr(at, length));
    if (at + length == word.size()) spelled += spec_.word_suffix;
    return index_.find(spelled);
  }

  void encode_word(std::string_view word, std::size_t start, MergeScratch& scratch, std::vector<TokenId>& out) const {
    const TokenId whole = affixes_ || has_unused_ ? kNoToken : index_.find(word);
    if (whole != kNoToken && (spec_.ignore_merges || whole_.get(whole) == WholeWordCache::kYes)) {
      out.push_back(whole);
      return;
    }
    auto& symbols = scratch.symbols;
    symbols.clear();
    for (std::size_t at = 0; at < word.size();) {
      const std::uint32_t length = decode_utf8(word, at).length;
      symbols.push_back({static_cast<std::uint32_t>(at), length, find_symbol(word, at, length)});
      at += length;
    }
    std::vector<Symbol> unused;  // merges into entries that may not appear, to be undone
    if (by_text_) {
      merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
        const TokenId id = index_.find(word.substr(left.begin, left.length + right.length));
        if (id == kNoToken) return MergeTarget{};
        if (has_unused_ && spec_.kinds[static_cast<std::size_t>(id)] == TokenKind::kUnused) {
          unused.push_back({left.begin, left.length, id});
        }
        return MergeTarget{by_score_ ? rank_[static_cast<std::size_t>(id)] : static_cast<std::uint32_t>(id), id};
      });
    } else {
      merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
        if (left.id == kNoToken || right.id == kNoToken) return MergeTarget{};
        const std::uint64_t found = pairs_.find(pair_key(left.id, right.id));
        if (found == KeyTable::kAbsent) return MergeTarget{};
        return MergeTarget{static_cast<std::uint32_t>(found >> 32), static_cast<TokenId>(found & 0xffffffffu)};
      });
    }
    if (whole != kNoToken) whole_.set(whole, symbols.size() == 1 && symbols[0].id == whole);
    for (const Symbol& symbol : symbols) write(word, symbol, unused, start, out);
  }

  void write(std::string_view word, const Symbol& symbol, const std::vector<Symbol>& unused, std::size_t start,
             std::vector<TokenId>& out) const {
    const bool hidden =
        symbol.id != kNoToken && has_unused_ && spec_.kinds[static_cast<std::size_t>(symbol.id)] == TokenKind::kUnused;
    if (hidden) {
      const auto split = std::find_if(unused.rbegin(), unused.rend(), [&](const Symbol& s) {
        return s.id == symbol.id && s.begin == symbol.begin && s.length < symbol.length;
      });
      if (split != unused.rend()) {
        const auto part = [&](std::uint32_t begin, std::uint32_t length) {
          write(word, {begin, length, index_.find(word.substr(begin, length))}, unused, start, out);
        };
        part(symbol.begin, split->length);
        part(symbol.begin + split->length, symbol.length - split->length);
        return;
      }
    }
    if (symbol.id == kNoToken || hidden) {
      unknown_.write(word.substr(symbol.begin, symbol.length), start, out);
    } else {
      out.push_back(symbol.id);
    }
  }

  const TokenizerSpec& spec_;
  bool by_score_, by_text_, affixes_, has_unused_ = false;
  UnknownWriter unknown_;
  SpaceCutter cutter_;
  bool cut_;
  StringIndex<std::vector<std::string>> index_;
  KeyTable pairs_;
  std::vector<std::uint32_t> rank_;
  WholeWordCache whole_;
};

}  // namespace

std::unique_ptr<Model> make_char_bpe(const TokenizerSpec& spec) { return std::make_unique<CharBpe>(spec); }

}  // namespace lathe::text
