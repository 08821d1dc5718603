#include "text/tokenizer_spec.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/hash_index.h"
#include "text/model.h"

namespace lathe::text {
namespace {

constexpr std::size_t kMaxPieces = std::size_t{1} << 26;
constexpr std::size_t kMaxAddedBytes = 16 * 1024;  // longest added token

void check_id(const TokenizerSpec& spec, TokenId id, std::string_view what, bool may_be_absent) {
  if (may_be_absent && id == kNoToken) return;
  if (id < 0 || static_cast<std::size_t>(id) >= spec.size()) {
    fail(spec.name, "the {} token has id {}, but the vocabulary has {} entries", what, id, spec.size());
  }
}

void check_special(const TokenizerSpec& spec) {
  const SpecialTokens& s = spec.special;
  check_id(spec, s.bos, "beginning-of-text", true);
  check_id(spec, s.eos, "end-of-text", true);
  check_id(spec, s.unknown, "unknown", true);
  check_id(spec, s.pad, "padding", true);
  check_id(spec, s.sep, "separator", true);
  check_id(spec, s.cls, "classification", true);
  check_id(spec, s.mask, "mask", true);
  for (const TokenId id : s.end_of_generation) check_id(spec, id, "end-of-generation", false);
  for (const TokenId id : spec.prefix) check_id(spec, id, "first", false);
  for (const TokenId id : spec.suffix) check_id(spec, id, "last", false);
}

void check_scores(const TokenizerSpec& spec) {
  const bool needed = spec.type == ModelType::kSpm || spec.type == ModelType::kUnigram;
  if (needed && spec.scores.empty()) fail(spec.name, "the vocabulary has no scores, which a SentencePiece model needs");
  if (!spec.scores.empty() && spec.scores.size() != spec.size()) {
    fail(spec.name, "the vocabulary has {} pieces but {} scores", spec.size(), spec.scores.size());
  }
  for (std::size_t id = 0; id < spec.scores.size(); ++id) {
    if (!std::isfinite(spec.scores[id])) fail(spec.name, "the score of token {} is not a finite number", id);
  }
}

// Steps that lengthen a text are few and short in every real file.
void check_steps(const TokenizerSpec& spec) {
  constexpr std::size_t kMaxSteps = 64, kMaxMark = 64;
  if (spec.normalizer.size() > kMaxSteps || spec.pre_tokenizer.size() > kMaxSteps) {
    fail(spec.name, "the tokenizer has more than {} normalizer or pre-tokenizer steps", kMaxSteps);
  }
  std::size_t spellings = 0;
  for (const PreTokenizerStep& step : spec.pre_tokenizer) {
    if (step.replacement.size() > kMaxMark || step.replacement.find(' ') != std::string::npos) {
      fail(spec.name, "the pre-tokenizer replaces spaces by {} bytes that may hold spaces", step.replacement.size());
    }
    spellings += step.type == PreTokenizerStep::Type::kByteLevel && step.to_alphabet;
  }
  if (spellings > 1) fail(spec.name, "the pre-tokenizer spells bytes as characters more than once");
}

}  // namespace

void validate(const TokenizerSpec& spec) {
  if (spec.pieces.empty()) fail(spec.name, "the vocabulary is empty");
  if (spec.size() > kMaxPieces) fail(spec.name, "a vocabulary of {} entries is too large", spec.size());
  if (spec.kinds.size() != spec.size())
    fail(spec.name, "the vocabulary has {} pieces but {} token types", spec.size(), spec.kinds.size());
  check_scores(spec);
  check_steps(spec);
  check_special(spec);
  for (const Merge& merge : spec.merges) {
    for (const TokenId id : {merge.left, merge.right, merge.result}) check_id(spec, id, "merged", false);
  }
  for (const AddedToken& token : spec.added) {
    check_id(spec, token.id, "added", false);
    const std::size_t bytes = spec.pieces[static_cast<std::size_t>(token.id)].size();
    if (bytes > kMaxAddedBytes) fail(spec.name, "added token {} is spelled with {} bytes", token.id, bytes);
  }
}

std::vector<Merge> merges_from_ranks(const TokenizerSpec& spec) {
  StringArena bytes;
  StringIndex<StringArena> index(&bytes, spec.size());
  for (std::size_t id = 0; id < spec.size(); ++id) {
    std::string raw;
    if (is_plain(spec.kinds[id]))
      raw = spec.byte_level ? bytes_from_alphabet(spec.pieces[id]).value_or("") : spec.pieces[id];
    bytes.push_back(raw);
    if (!raw.empty()) index.insert(static_cast<std::int32_t>(id));
  }
  std::vector<Merge> merges;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const std::string_view piece = bytes[id];
    const std::size_t first = merges.size();
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      const TokenId left = index.find(piece.substr(0, cut)), right = index.find(piece.substr(cut));
      if (left != kNoToken && right != kNoToken) merges.push_back({left, right, static_cast<TokenId>(id)});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const Merge& a, const Merge& b) { return a.left != b.left ? a.left < b.left : a.right < b.right; });
  }
  return merges;
}

void add_end_of_generation(TokenizerSpec& spec, std::span<const TokenId> ids) {
  auto& ends = spec.special.end_of_generation;
  std::vector<bool> listed(spec.size(), false);
  // An id outside the vocabulary is listed as it is; validate() refuses it.
  const auto list = [&](TokenId id) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= listed.size()) return true;
    const bool is_new = !listed[at];
    listed[at] = true;
    return is_new;
  };
  for (const TokenId id : ends) list(id);
  for (const TokenId id : ids) {
    if (list(id)) ends.push_back(id);
  }
}

void find_end_of_generation(TokenizerSpec& spec) {
  static constexpr std::string_view kEnds[] = {"<|eot_id|>",
                                               "<|im_end|>",
                                               "<|end|>",
                                               "<|return|>",
                                               "<|call|>",
                                               "<|endoftext|>",
                                               "<|end_of_text|>",
                                               "<|eom_id|>",
                                               "<|endofturn|>",
                                               "<|eot|>",
                                               "<end_of_turn>",
                                               "<turn|>",
                                               "< EOT >",
                                               "_< EOT >",
                                               "<EOT>",
                                               "_<EOT>",
                                               "[EOT]",
                                               "[EOS]",
                                               "<eos>",
                                               "<|end_of_turn|>",
                                               "<|endofprompt|>",
                                               "<\uff5cend\u2581of\u2581sentence\uff5c>",
                                               "<end_of_utterance>",
                                               "<|user_end|>",
                                               "<|END_OF_TURN_TOKEN|>",
                                               "[e~["};
  // A file may hold the same spelling any number of times, so what is known lies in tables by id, not in lists.
  if (spec.special.eos != kNoToken) add_end_of_generation(spec, std::span(&spec.special.eos, 1));
  std::vector<TokenId> found;
  std::vector<bool> promoted(spec.size(), false);
  TokenId end = kNoToken;
  bool returns = false, calls = false;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const std::string_view piece = spec.pieces[id];
    if (piece.size() < 5 || std::find(std::begin(kEnds), std::end(kEnds), piece) == std::end(kEnds)) continue;
    if (spec.kinds[id] == TokenKind::kUnused) continue;
    returns = returns || piece == "<|return|>";
    calls = calls || piece == "<|call|>";
    if (piece == "<|end|>") end = static_cast<TokenId>(id);
    if (spec.kinds[id] == TokenKind::kNormal || spec.kinds[id] == TokenKind::kUserDefined) {
      spec.kinds[id] = TokenKind::kControl;
      promoted[id] = true;
    }
    found.push_back(static_cast<TokenId>(id));
  }
  for (AddedToken& token : spec.added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= spec.size() || !promoted[id]) continue;
    token.special = true;
    promoted[id] = false;
  }
  for (const TokenId id : found) {
    if (promoted[static_cast<std::size_t>(id)]) spec.added.push_back({.id = id});
  }
  add_end_of_generation(spec, found);
  // gpt-oss: <|end|> ends one message of several, <|return|> and <|call|> end the turn.
  if (returns && calls && end != kNoToken && end != spec.special.eos) std::erase(spec.special.end_of_generation, end);
}

}  // namespace lathe::text
