#include "formats/tokenizer_llama2c.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using text::kSpaceMark;
using text::TokenKind;

// The file spells spaces as spaces and wraps the control tokens in newlines; a spec follows SentencePiece.
std::string sentencepiece_spelling(std::string_view piece) {
  if (piece == "\n<s>\n") return "<s>";
  if (piece == "\n</s>\n") return "</s>";
  std::string out;
  for (const char c : piece) {
    if (c == ' ') {
      out += kSpaceMark;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

text::TokenizerSpec parse_llama2c_tokenizer(const Bytes& file, std::optional<std::uint64_t> vocab_size) {
  ByteReader reader(file);
  text::TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kSpm;
  const auto longest = reader.read<std::int32_t>("longest token");
  if (longest <= 0 || longest > 1 << 20)
    fail(file.name(), "not a llama2.c tokenizer: longest token of {} bytes", longest);
  while (vocab_size ? spec.size() < *vocab_size : reader.remaining() > 0) {
    const auto score = reader.read<float>("token score");
    const auto length = reader.read<std::int32_t>("token length");
    if (length < 0 || length > longest) {
      fail(file.name(), "token {} has {} bytes, but the longest is said to have {}", spec.size(), length, longest);
    }
    const std::string piece = reader.string(static_cast<std::uint64_t>(length), "token");
    spec.kinds.push_back(text::byte_token_value(piece) >= 0 ? TokenKind::kByte : TokenKind::kNormal);
    spec.pieces.push_back(sentencepiece_spelling(piece));
    spec.scores.push_back(score);
  }
  if (spec.size() < 3) fail(file.name(), "the vocabulary has {} tokens, fewer than <unk>, <s> and </s>", spec.size());
  // The program that defines the format takes ids 0, 1 and 2 for these whatever they are spelled.
  spec.kinds[0] = TokenKind::kUnknown;
  spec.kinds[1] = spec.kinds[2] = TokenKind::kControl;
  spec.special.unknown = 0;
  spec.special.bos = 1;
  spec.special.eos = 2;
  spec.special.end_of_generation = {2};
  spec.special.add_bos = true;
  spec.prefix = {1};
  for (const text::TokenId id : {0, 1, 2}) spec.added.push_back({.id = id});
  const auto bytes = text::byte_token_ids(spec);
  spec.byte_fallback = std::all_of(bytes.begin(), bytes.end(), [](text::TokenId id) { return id != text::kNoToken; });
  spec.normalizer = {{.type = text::NormalizerStep::Type::kReplace, .pattern = " ", .content = std::string(kSpaceMark)},
                     {.type = text::NormalizerStep::Type::kPrepend, .content = std::string(kSpaceMark)}};
  spec.decoder.space = kSpaceMark;
  spec.decoder.byte_fallback = spec.byte_fallback;
  spec.decoder.strip_space = text::PrependScheme::kAlways;
  return spec;
}

}  // namespace lathe::formats
