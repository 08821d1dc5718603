// SentencePiece unigram (Kudo 2018, "Subword Regularization", section 3): of all ways to write a text in pieces, the
// one whose scores (log probabilities) sum highest, by Viterbi over a trie of the pieces.
#include <algorithm>
#include <limits>

#include "text/byte_trie.h"
#include "text/model.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lathe::text {
namespace {

constexpr double kUnknownPenalty = 10.0;      // below the lowest score, as SentencePiece sets it
constexpr double kUserDefinedDiscount = 0.1;  // user-defined pieces score just under length * best

class Unigram final : public Model {
 public:
  explicit Unigram(const TokenizerSpec& spec) : unknown_(spec), cutter_(spec), scores_(spec.size()) {
    double lowest = std::numeric_limits<double>::max(), highest = std::numeric_limits<double>::lowest();
    for (std::size_t id = 0; id < spec.size(); ++id) {
      if (spec.kinds[id] != TokenKind::kNormal) continue;
      lowest = std::min<double>(lowest, spec.scores[id]);
      highest = std::max<double>(highest, spec.scores[id]);
    }
    if (lowest > highest) lowest = highest = 0;
    unknown_score_ = lowest - kUnknownPenalty;
    for (std::size_t id = 0; id < spec.size(); ++id) {
      const std::string& piece = spec.pieces[id];
      scores_[id] = spec.kinds[id] == TokenKind::kUserDefined
                        ? static_cast<double>(piece.size()) * highest - kUserDefinedDiscount
                        : static_cast<double>(spec.scores[id]);
      const bool usable = spec.kinds[id] == TokenKind::kNormal || spec.kinds[id] == TokenKind::kUserDefined;
      if (usable && !piece.empty()) trie_.insert(piece, static_cast<std::int32_t>(id));
    }
  }

  void encode(std::string_view text, MergeScratch&, std::vector<TokenId>& out) const override {
    const std::size_t start = out.size();
    std::vector<Node> nodes;
    while (!text.empty()) {
      const std::size_t length = cutter_.first_part(text);
      viterbi(text.substr(0, length), nodes, start, out);
      text.remove_prefix(length);
    }
  }

 private:
  // The best way to reach the end of a prefix: its last piece.
  struct Node {
    double score = 0;
    std::uint32_t length = 0;  // bytes of the last piece; 0 for places not reached
    TokenId id = kNoToken;     // kNoToken for an unknown character
  };

  void viterbi(std::string_view word, std::vector<Node>& nodes, std::size_t start, std::vector<TokenId>& out) const {
    nodes.assign(word.size() + 1, Node{});
    for (std::size_t at = 0; at < word.size();) {
      const double score = nodes[at].score;
      const std::uint32_t char_length = decode_utf8(word, at).length;
      const auto offer = [&](std::size_t length, double total, TokenId id) {
        Node& node = nodes[at + length];
        if (node.length == 0 || total > node.score) node = {total, static_cast<std::uint32_t>(length), id};
      };
      bool single = false;
      std::uint32_t state = ByteTrie::kRoot;
      for (std::size_t i = at; i < word.size();) {
        state = trie_.child(state, static_cast<unsigned char>(word[i++]));
        if (state == ByteTrie::kNone) break;
        const TokenId id = trie_.value(state);
        // Pieces that end inside a character of this text (pieces of stray bytes) are not offered.
        if (id < 0 || (i < word.size() && (static_cast<unsigned char>(word[i]) & 0xc0) == 0x80 && i - at < char_length))
          continue;
        offer(i - at, score + scores_[static_cast<std::size_t>(id)], id);
        single = single || i - at == char_length;
      }
      if (!single) offer(char_length, score + unknown_score_, kNoToken);
      at += char_length;
    }
    std::vector<std::pair<std::size_t, std::size_t>> path;  // end, node index from the back
    for (std::size_t end = word.size(); end > 0; end -= nodes[end].length) path.emplace_back(end, nodes[end].length);
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      const Node& node = nodes[it->first];
      if (node.id != kNoToken) {
        out.push_back(node.id);
      } else {
        unknown_.write(word.substr(it->first - it->second, it->second), start, out);
      }
    }
  }

  UnknownWriter unknown_;
  SpaceCutter cutter_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  ByteTrie trie_;
};

}  // namespace

std::unique_ptr<Model> make_unigram(const TokenizerSpec& spec) { return std::make_unique<Unigram>(spec); }

}  // namespace lathe::text
