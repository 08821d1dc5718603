// The whole tokenizer around a model: added tokens are found, the text between them is normalized, cut into words and
// encoded; decoding is piece by piece.
#include <utility>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/piece_decoder.h"
#include "text/pre_tokenizer.h"

namespace lathe::text {
namespace {

std::unique_ptr<Model> make_model(const TokenizerSpec& spec) {
  switch (spec.type) {
    case ModelType::kBpe:
      return spec.byte_level ? make_byte_bpe(spec) : make_char_bpe(spec);
    case ModelType::kSpm:
      return make_char_bpe(spec);
    case ModelType::kUnigram:
      return make_unigram(spec);
    case ModelType::kWordPiece:
      return make_word_piece(spec);
    case ModelType::kWordLevel:
      return make_word_level(spec);
    case ModelType::kTrie:
      return make_trie(spec);
  }
  fail(spec.name, "unknown tokenizer model {}", static_cast<int>(spec.type));
}

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerSpec spec)
      : spec_(std::move(spec)),
        normalizer_(spec_.normalizer, spec_.name),
        raw_added_(spec_, false),
        normalized_added_(spec_, true, spec_.normalize_added ? &normalizer_ : nullptr),
        pre_tokenizer_(spec_.pre_tokenizer, spec_.name),
        model_(make_model(spec_)),
        decoder_(spec_),
        by_piece_(&spec_.pieces, spec_.size()),
        target_(spec_.target == nullptr ? nullptr : make_tokenizer(*spec_.target)) {
    for (std::size_t id = 0; id < spec_.size(); ++id) by_piece_.insert(static_cast<std::int32_t>(id));
  }

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > kMaxText)
      throw Error(fmt::format("a text of {} bytes is too long to tokenize at once", text.size()));
    std::vector<TokenId> ids;
    ids.reserve(text.size() / 4 + 8);
    if (options.add_special) ids.insert(ids.end(), spec_.prefix.begin(), spec_.prefix.end());
    Scratch scratch;
    if (raw_added_.empty()) {
      encode_stretch(text, true, options, scratch, ids);
    } else {
      std::vector<Fragment> fragments;
      raw_added_.split(text, options.parse_special, fragments);
      for (const Fragment& fragment : fragments) {
        if (fragment.id != kNoToken) {
          ids.push_back(fragment.id);
        } else {
          encode_stretch(fragment.text, fragment.text.data() == text.data(), options, scratch, ids);
        }
      }
    }
    if (options.add_special) ids.insert(ids.end(), spec_.suffix.begin(), spec_.suffix.end());
    return ids;
  }

  std::string decode(std::span<const TokenId> ids, const DecodeOptions& options) const override {
    std::string text;
    TokenId previous = kNoToken;
    for (const TokenId id : ids) {
      if (append_bytes(previous, id, options, text)) previous = id;
    }
    return text;
  }

  bool append_bytes(TokenId previous, TokenId id, const DecodeOptions& options, std::string& out) const override {
    check(id);
    if (previous != kNoToken) check(previous);
    return decoder_.append(previous, id, options, out);
  }

  std::string token_bytes(TokenId id) const override {
    check(id);
    std::string bytes;
    decoder_.append_inside(id, bytes);
    return bytes;
  }

  std::string_view piece(TokenId id) const override { return spec_.pieces[check(id)]; }
  TokenKind kind(TokenId id) const override { return spec_.kinds[check(id)]; }
  float score(TokenId id) const override { return spec_.scores.empty() ? 0.0f : spec_.scores[check(id)]; }
  TokenId find(std::string_view piece) const override { return by_piece_.find(piece); }
  std::size_t size() const override { return spec_.size(); }
  const SpecialTokens& special() const override { return spec_.special; }
  const Tokenizer& target() const override {
    if (target_ != nullptr) return *target_;
    return *this;
  }
  const TokenizerSpec& spec() const override { return spec_; }

  std::string_view family() const override {
    switch (spec_.type) {
      case ModelType::kBpe:
        return "bpe";
      case ModelType::kSpm:
        return "spm";
      case ModelType::kUnigram:
        return "unigram";
      case ModelType::kWordPiece:
        return "wordpiece";
      case ModelType::kWordLevel:
        return "wordlevel";
      case ModelType::kTrie:
        return "trie";
    }
    return "";
  }

 private:
  static constexpr std::size_t kMaxText = std::size_t{1} << 30;  // positions inside a word are 32 bits

  struct Scratch {
    MergeScratch merge;
    Words words;
  };

  std::size_t check(TokenId id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= spec_.size()) {
      throw Error(fmt::format("token id {} is outside the vocabulary of {} entries", id, spec_.size()), spec_.name);
    }
    return static_cast<std::size_t>(id);
  }

  void encode_stretch(std::string_view text, bool first, const EncodeOptions& options, Scratch& scratch,
                      std::vector<TokenId>& ids) const {
    if (text.empty()) return;
    std::string normalized;
    if (!normalizer_.empty()) {
      normalized = normalizer_.apply(text);
      text = normalized;
    }
    if (normalized_added_.empty()) {
      encode_words(text, first, scratch, ids);
      return;
    }
    std::vector<Fragment> fragments;
    normalized_added_.split(text, options.parse_special, fragments);
    for (const Fragment& fragment : fragments) {
      if (fragment.id != kNoToken) {
        ids.push_back(fragment.id);
      } else {
        encode_words(fragment.text, first && fragment.text.data() == text.data(), scratch, ids);
      }
    }
  }

  void encode_words(std::string_view text, bool first, Scratch& scratch, std::vector<TokenId>& ids) const {
    if (pre_tokenizer_.empty()) {
      if (!text.empty()) model_->encode(text, scratch.merge, ids);
      return;
    }
    pre_tokenizer_.split(text, first, scratch.words);
    for (const std::string_view word : scratch.words.views) {
      if (!word.empty()) model_->encode(word, scratch.merge, ids);
    }
    scratch.words.owned.clear();
  }

  TokenizerSpec spec_;
  Normalizer normalizer_;
  AddedTokenFinder raw_added_, normalized_added_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<Model> model_;
  PieceDecoder decoder_;
  StringIndex<std::vector<std::string>> by_piece_;
  std::unique_ptr<Tokenizer> target_;  // null: this one
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec) {
  validate(spec);
  return std::make_unique<PipelineTokenizer>(std::move(spec));
}

}  // namespace lathe::text
