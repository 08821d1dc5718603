// Made-up vocabularies of any size that behave like trained ones: every longer piece is the join of two earlier pieces,
// so that merging reaches it.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "formats/random.h"
#include "formats/synth.h"
#include "text/byte_level.h"

namespace lathe::formats {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, SentencePiece's space
constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;
constexpr std::size_t kMaxPieceBytes = 24;

// Below this size there is no room for the byte tokens, and the model gets no tokenizer.
constexpr std::uint32_t kSmallestVocabulary = 512;

struct Vocabulary {
  std::vector<std::string> pieces, merges;
  std::vector<std::int32_t> kinds;
  std::vector<float> scores;

  void add(std::string piece, std::int32_t kind, float score = 0) {
    pieces.push_back(std::move(piece));
    kinds.push_back(kind);
    scores.push_back(score);
  }
};

// Joins random pairs of pieces[first..] until there are `size`. Early pieces take part more often, as in trained
// vocabularies. `starts_word` spells the space, which only begins a piece.
void grow(Vocabulary& vocabulary, std::size_t first, std::size_t size, std::string_view starts_word, Random& random) {
  std::set<std::string> known(vocabulary.pieces.begin(), vocabulary.pieces.end());
  const auto pick = [&]() -> const std::string& {
    const float skewed = std::pow(random.uniform(), 4.0f);
    const std::size_t count = vocabulary.pieces.size() - first;
    return vocabulary.pieces[first + std::min(count - 1, static_cast<std::size_t>(skewed * static_cast<float>(count)))];
  };
  while (vocabulary.pieces.size() < size) {
    const std::string &left = pick(), &right = pick();
    if (left.size() + right.size() > kMaxPieceBytes || right.starts_with(starts_word)) continue;
    std::string joined = left + right;
    if (!known.insert(joined).second) continue;
    vocabulary.merges.push_back(fmt::format("{} {}", left, right));
    vocabulary.add(std::move(joined), kNormal, -static_cast<float>(vocabulary.pieces.size()));
  }
}

void llama_vocabulary(std::uint32_t size, Random& random, Metadata& metadata) {
  Vocabulary vocabulary;
  vocabulary.add("<unk>", kUnknown);
  vocabulary.add("<s>", kControl);
  vocabulary.add("</s>", kControl);
  for (int byte = 0; byte < 256; ++byte) vocabulary.add(fmt::format("<0x{:02X}>", byte), kByte);
  const std::size_t first = vocabulary.pieces.size();
  // Letters by frequency, then the other printable characters.
  std::string characters = "etaoinshrdlcumwfgypbvkjxqz";
  for (char c = '!'; c <= '~'; ++c) {
    if (characters.find(c) == std::string::npos) characters += c;
  }
  vocabulary.add(std::string(kSpace), kNormal, -static_cast<float>(first));
  for (const char c : characters)
    vocabulary.add(std::string(1, c), kNormal, -static_cast<float>(vocabulary.pieces.size()));
  grow(vocabulary, first, size, kSpace, random);
  metadata.set("tokenizer.ggml.model", MetaValue::string("llama"));
  metadata.set("tokenizer.ggml.pre", MetaValue::string("default"));
  metadata.set("tokenizer.ggml.tokens", MetaValue::strings(std::move(vocabulary.pieces)));
  metadata.set("tokenizer.ggml.scores", MetaValue::f32s(vocabulary.scores));
  metadata.set("tokenizer.ggml.token_type", MetaValue::i32s(vocabulary.kinds));
  metadata.set("tokenizer.ggml.unknown_token_id", MetaValue::u32(0));
  metadata.set("tokenizer.ggml.bos_token_id", MetaValue::u32(1));
  metadata.set("tokenizer.ggml.eos_token_id", MetaValue::u32(2));
  metadata.set("tokenizer.ggml.add_bos_token", MetaValue::boolean(true));
  metadata.set("tokenizer.ggml.add_eos_token", MetaValue::boolean(false));
}

void gpt2_vocabulary(std::uint32_t size, Random& random, Metadata& metadata) {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char raw = static_cast<char>(byte);
    vocabulary.add(text::bytes_to_alphabet(std::string_view(&raw, 1)), kNormal);
  }
  const std::string space = text::bytes_to_alphabet(" ");
  // Joins of letters only: what text is made of.
  Vocabulary letters;
  letters.add(space, kNormal);
  for (const char c : std::string_view("etaoinshrdlcumwfgypbvkjxqz")) letters.add(std::string(1, c), kNormal);
  const std::size_t n_letters = letters.pieces.size();
  grow(letters, 0, n_letters + size - 1 - vocabulary.pieces.size(), space, random);
  for (std::size_t i = n_letters; i < letters.pieces.size(); ++i) vocabulary.add(std::move(letters.pieces[i]), kNormal);
  vocabulary.add("<|endoftext|>", kControl);
  metadata.set("tokenizer.ggml.model", MetaValue::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", MetaValue::string("gpt-2"));
  metadata.set("tokenizer.ggml.tokens", MetaValue::strings(std::move(vocabulary.pieces)));
  metadata.set("tokenizer.ggml.token_type", MetaValue::i32s(vocabulary.kinds));
  metadata.set("tokenizer.ggml.merges", MetaValue::strings(std::move(letters.merges)));
  metadata.set("tokenizer.ggml.bos_token_id", MetaValue::u32(size - 1));
  metadata.set("tokenizer.ggml.eos_token_id", MetaValue::u32(size - 1));
  metadata.set("tokenizer.ggml.add_bos_token", MetaValue::boolean(false));
}

// Pieces that begin a word carry the mark; the others go on with one.
void word_piece_vocabulary(std::uint32_t size, Random& random, Metadata& metadata) {
  Vocabulary vocabulary;
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) vocabulary.add(special, kControl);
  const std::size_t first = vocabulary.pieces.size();
  for (const char c : std::string_view("etaoinshrdlcumwfgypbvkjxqz0123456789")) {
    vocabulary.add(std::string(kSpace) + c, kNormal);
    vocabulary.add(std::string(1, c), kNormal);
  }
  for (const char c : std::string_view(".,;:!?'\"()-")) vocabulary.add(std::string(kSpace) + c, kNormal);
  grow(vocabulary, first, size, kSpace, random);
  metadata.set("tokenizer.ggml.model", MetaValue::string("bert"));
  metadata.set("tokenizer.ggml.tokens", MetaValue::strings(std::move(vocabulary.pieces)));
  metadata.set("tokenizer.ggml.token_type", MetaValue::i32s(vocabulary.kinds));
  metadata.set("tokenizer.ggml.padding_token_id", MetaValue::u32(0));
  metadata.set("tokenizer.ggml.unknown_token_id", MetaValue::u32(1));
  for (const char* key : {"bos_token_id", "cls_token_id"})
    metadata.set(fmt::format("tokenizer.ggml.{}", key), MetaValue::u32(2));
  for (const char* key : {"eos_token_id", "seperator_token_id"})  // sic
    metadata.set(fmt::format("tokenizer.ggml.{}", key), MetaValue::u32(3));
  metadata.set("tokenizer.ggml.mask_token_id", MetaValue::u32(4));
}

}  // namespace

void synth_vocabulary(const arch::Architecture& a, std::uint64_t seed, Metadata& metadata) {
  Random random(seed, 0x766f6361);
  if (a.vocab_size < kSmallestVocabulary) {
    metadata.set("tokenizer.ggml.model", MetaValue::string("none"));
  } else if (a.family == "bert" || a.family == "nomic-bert") {
    word_piece_vocabulary(a.vocab_size, random, metadata);
  } else if (a.family == "gpt2" || a.family == "roberta") {
    gpt2_vocabulary(a.vocab_size, random, metadata);
  } else {
    llama_vocabulary(a.vocab_size, random, metadata);
  }
}

}  // namespace lathe::formats
