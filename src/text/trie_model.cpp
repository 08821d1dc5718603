// Greedy longest match over bytes, without words: RWKV's "World" vocabularies, whose pieces include every single byte.
#include <string>

#include "text/byte_trie.h"
#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

class TrieModel final : public Model {
 public:
  explicit TrieModel(const TokenizerSpec& spec) : unknown_(spec) {
    for (std::size_t id = 0; id < spec.size(); ++id) {
      if (is_plain(spec.kinds[id])) trie_.insert(spec.pieces[id], static_cast<std::int32_t>(id));
    }
    const auto bytes = byte_token_ids(spec);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      if (bytes[byte] == kNoToken || spec.kinds[static_cast<std::size_t>(bytes[byte])] != TokenKind::kByte) continue;
      const char c = static_cast<char>(byte);
      trie_.insert(std::string_view(&c, 1), bytes[byte]);
    }
  }

  void encode(std::string_view text, MergeScratch&, std::vector<TokenId>& out) const override {
    const std::size_t start = out.size();
    while (!text.empty()) {
      TokenId id = kNoToken;
      std::size_t length = 0;
      std::uint32_t node = ByteTrie::kRoot;
      for (std::size_t i = 0; i < text.size();) {
        node = trie_.child(node, static_cast<unsigned char>(text[i++]));
        if (node == ByteTrie::kNone) break;
        if (trie_.value(node) >= 0) {
          id = trie_.value(node);
          length = i;
        }
      }
      if (id == kNoToken) {
        length = decode_utf8(text, 0).length;
        unknown_.write(text.substr(0, length), start, out);
      } else {
        out.push_back(id);
      }
      text.remove_prefix(length);
    }
  }

 private:
  UnknownWriter unknown_;
  ByteTrie trie_;
};

}  // namespace

std::unique_ptr<Model> make_trie(const TokenizerSpec& spec) { return std::make_unique<TrieModel>(spec); }

}  // namespace lathe::text
