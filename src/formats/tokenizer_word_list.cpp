// The word lists of CTranslate2 models.
#include <algorithm>
#include <optional>

#include "base/file.h"
#include "formats/ctranslate2.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUnknownWord = "<unk>", kBegin = "<s>", kEnd = "</s>", kBlank = "<blank>";

bool is_special(std::string_view word) {
  return word == kUnknownWord || word == kBegin || word == kEnd || word == kBlank;
}

// Bytes after the first of a character begin with the bits 10.
bool is_one_character(std::string_view word) {
  return std::count_if(word.begin(), word.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }) == 1;
}

}  // namespace

text::TokenizerSpec parse_word_list(const Bytes& file, std::uint32_t rows) {
  text::TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kWordLevel;
  const std::string_view text = file.text();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view word = text.substr(begin, end - begin);
    if (word.ends_with('\r')) word.remove_suffix(1);
    spec.pieces.emplace_back(word);
    begin = end + 1;
    if (spec.pieces.size() > rows) fail(file.name(), "has more than the {} words of the model's table", rows);
  }
  const bool listed = std::find(spec.pieces.begin(), spec.pieces.end(), kUnknownWord) != spec.pieces.end();
  if (!listed) spec.pieces.emplace_back(kUnknownWord);
  if (spec.pieces.size() != rows)
    fail(file.name(), "has {} words, unknown ones included, the model's table {}", spec.pieces.size(), rows);
  bool letters = true;
  for (std::size_t i = 0; i < spec.pieces.size(); ++i) {
    const std::string& word = spec.pieces[i];
    const auto id = static_cast<text::TokenId>(i);
    spec.kinds.push_back(word == kUnknownWord ? text::TokenKind::kUnknown
                         : is_special(word)   ? text::TokenKind::kControl
                                              : text::TokenKind::kNormal);
    letters = letters && (is_special(word) || is_one_character(word));
    if (word == kUnknownWord) spec.special.unknown = id;
    if (word == kBegin) spec.special.bos = id;
    if (word == kBlank) spec.special.pad = id;
    if (word == kEnd) spec.special.eos = id, spec.special.end_of_generation = {id};
    if (is_special(word)) spec.added.push_back({.id = id});
  }
  if (spec.special.eos == text::kNoToken || spec.special.bos == text::kNoToken)
    fail(file.name(), "lacks {} or {}", kBegin, kEnd);
  spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kWhitespaceSplit});
  spec.decoder.join_with_spaces = !letters;
  // A list of letters transliterates: words need no spaces between their letters.
  if (letters) spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kFixedLength, .length = 1});
  return spec;
}

std::optional<text::TokenizerSpec> tokenizer_beside_ctranslate2(const fs::path& model, const arch::Architecture& a) {
  const fs::path source = model.parent_path() / "source_vocabulary.txt",
                 target = model.parent_path() / "target_vocabulary.txt";
  if (!fs::exists(source) && !fs::exists(target)) return std::nullopt;
  text::TokenizerSpec spec = parse_word_list(map_file(source), a.encoder.vocab_size);
  text::TokenizerSpec words = parse_word_list(map_file(target), a.vocab_size);
  words.suffix = {words.special.eos};
  words.special.add_eos = true;
  spec.target = std::make_shared<const text::TokenizerSpec>(std::move(words));
  return spec;
}

}  // namespace lathe::formats
