// Byte-level byte-pair encoding (Radford et al. 2019, section 2.2): words are bytes, every byte has a token, merges are
// looked up by the ids of a pair or, for tiktoken vocabularies, by the bytes of their concatenation.
#include <array>
#include <optional>

#include "text/byte_level.h"
#include "text/model.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

class ByteBpe final : public Model {
 public:
  explicit ByteBpe(const TokenizerSpec& spec)
      : by_rank_(spec.merge_by_rank),
        ignore_merges_(spec.ignore_merges),
        unknown_(spec.special.unknown),
        index_(&bytes_, spec.size()),
        pairs_(spec.merges.size()),
        whole_(spec.size()) {
    byte_ids_.fill(kNoToken);
    std::size_t total = 0;
    for (const std::string& piece : spec.pieces) total += piece.size();
    bytes_.reserve(spec.size(), total);
    for (std::size_t id = 0; id < spec.size(); ++id) {
      const auto bytes = is_plain(spec.kinds[id]) ? bytes_from_alphabet(spec.pieces[id]) : std::nullopt;
      bytes_.push_back(bytes ? *bytes : std::string_view());
      if (!bytes || bytes->empty()) continue;
      index_.insert(static_cast<std::int32_t>(id));
      TokenId& single = byte_ids_[static_cast<unsigned char>((*bytes)[0])];
      if (bytes->size() == 1 && single == kNoToken) single = static_cast<TokenId>(id);
    }
    for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
      const Merge& merge = spec.merges[rank];
      pairs_.insert(pair_key(merge.left, merge.right),
                    static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(merge.result));
    }
  }

  void encode(std::string_view word, MergeScratch& scratch, std::vector<TokenId>& out) const override {
    const TokenId whole = index_.find(word);
    if (whole != kNoToken) {
      // A tiktoken rank is a whole word by definition.
      const auto state = ignore_merges_ || by_rank_ ? WholeWordCache::kYes : whole_.get(whole);
      if (state == WholeWordCache::kYes) {
        out.push_back(whole);
        return;
      }
    }
    auto& symbols = scratch.symbols;
    symbols.clear();
    for (std::size_t i = 0; i < word.size(); ++i) {
      symbols.push_back({static_cast<std::uint32_t>(i), 1, byte_ids_[static_cast<unsigned char>(word[i])]});
    }
    if (by_rank_) {
      merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
        const TokenId id = index_.find(word.substr(left.begin, left.length + right.length));
        return id == kNoToken ? MergeTarget{} : MergeTarget{static_cast<std::uint32_t>(id), id};
      });
    } else {
      merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
        if (left.id == kNoToken || right.id == kNoToken) return MergeTarget{};
        const std::uint64_t found = pairs_.find(pair_key(left.id, right.id));
        if (found == KeyTable::kAbsent) return MergeTarget{};
        return MergeTarget{static_cast<std::uint32_t>(found >> 32), static_cast<TokenId>(found & 0xffffffffu)};
      });
    }
    if (whole != kNoToken && !ignore_merges_) whole_.set(whole, symbols.size() == 1 && symbols[0].id == whole);
    for (const Symbol& symbol : symbols) {
      const TokenId id = symbol.id == kNoToken ? unknown_ : symbol.id;
      if (id != kNoToken) out.push_back(id);
    }
  }

 private:
  bool by_rank_, ignore_merges_;
  TokenId unknown_;
  std::array<TokenId, 256> byte_ids_;
  StringArena bytes_;  // by id; empty for entries that text cannot become
  StringIndex<StringArena> index_;
  KeyTable pairs_;
  WholeWordCache whole_;
};

}  // namespace

std::unique_ptr<Model> make_byte_bpe(const TokenizerSpec& spec) { return std::make_unique<ByteBpe>(spec); }

}  // namespace lathe::text
