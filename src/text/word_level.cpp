// One id per word of the pre-tokenizer.
#include "text/model.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

class WordLevel final : public Model {
 public:
  explicit WordLevel(const TokenizerSpec& spec) : unknown_(spec.special.unknown), index_(&spec.pieces, spec.size()) {
    for (std::size_t id = 0; id < spec.size(); ++id) {
      if (is_plain(spec.kinds[id]) && !spec.pieces[id].empty()) index_.insert(static_cast<std::int32_t>(id));
    }
  }

  void encode(std::string_view word, MergeScratch&, std::vector<TokenId>& out) const override {
    const TokenId found = index_.find(word);
    const TokenId id = found != kNoToken ? found : unknown_;
    if (id != kNoToken) out.push_back(id);
  }

 private:
  TokenId unknown_;
  StringIndex<std::vector<std::string>> index_;
};

}  // namespace

std::unique_ptr<Model> make_word_level(const TokenizerSpec& spec) { return std::make_unique<WordLevel>(spec); }

}  // namespace lathe::text
