#include "formats/tokenizer_plain.h"

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/json.h"
#include "formats/tokenizer_merges.h"
#include "formats/tokenizer_roles.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

constexpr std::int64_t kMaxLineHoles = 1 << 16;

void read_map(const nlohmann::json& map, std::string_view where, TokenizerSpec& spec) {
  if (!map.is_object() || map.empty()) fail(where, "not a vocabulary: the JSON is not an object of words and ids");
  const auto count = static_cast<std::int64_t>(map.size());
  for (const auto& [piece, value] : map.items()) {
    const std::int64_t id = value.is_number_integer() ? value.get<std::int64_t>() : -1;
    if (id < 0 || id >= count + kMaxLineHoles)
      fail(where, "the id of {} is not a number inside the vocabulary", text::quoted(piece));
    const auto at = static_cast<std::size_t>(id);
    if (at >= spec.size()) {
      spec.pieces.resize(at + 1);
      spec.kinds.resize(at + 1, TokenKind::kUnused);
    }
    if (spec.kinds[at] != TokenKind::kUnused)
      fail(where, "{} and {} share id {}", text::quoted(spec.pieces[at]), text::quoted(piece), id);
    spec.pieces[at] = piece;
    spec.kinds[at] = TokenKind::kNormal;
  }
}

void each_line(const Bytes& file, const std::function<void(std::string_view)>& use) {
  std::string_view rest = file.text();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    use(line);
  }
}

// Entries spelled <name>, [NAME] or <|name|> are control tokens.
void mark_controls(TokenizerSpec& spec, char open, char close) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const std::string& piece = spec.pieces[id];
    if (spec.kinds[id] != TokenKind::kNormal || piece.size() < 3 || piece.front() != open || piece.back() != close)
      continue;
    spec.kinds[id] = piece == "<unk>" || piece == "[UNK]" ? TokenKind::kUnknown : TokenKind::kControl;
    spec.added.push_back({.id = static_cast<TokenId>(id)});
  }
}

}  // namespace

TokenizerSpec parse_gpt2_vocabulary(const Bytes& vocabulary, const Bytes& merges) {
  TokenizerSpec spec;
  spec.name = vocabulary.name();
  read_map(parse_json_sorted(vocabulary.text(), vocabulary.name()), vocabulary.name(), spec);
  MergeReader reader(spec, merges.name());
  each_line(merges, [&](std::string_view line) {
    if (!line.empty() && !(line.starts_with("#version") && spec.merges.empty())) reader.add(line);
  });
  spec.byte_level = spec.decoder.byte_level = true;
  spec.pre_name = "gpt-2";
  spec.pre_tokenizer = *text::pre_tokenizer_by_name(spec.pre_name);
  for (const std::string_view control : {"<|endoftext|>", "<|startoftext|>", "<|pad|>"}) {
    const auto it = std::find(spec.pieces.begin(), spec.pieces.end(), control);
    if (it == spec.pieces.end()) continue;
    const auto id = static_cast<TokenId>(it - spec.pieces.begin());
    spec.kinds[static_cast<std::size_t>(id)] = TokenKind::kControl;
    spec.added.push_back({.id = id});
  }
  check_unique_pieces(spec);
  guess_roles(spec);
  if (spec.special.bos == text::kNoToken) spec.special.bos = spec.special.eos;
  text::find_end_of_generation(spec);
  return spec;
}

TokenizerSpec parse_bert_vocabulary(const Bytes& file) {
  TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kWordPiece;
  spec.continuing_prefix = "##";
  bool cased = false;
  each_line(file, [&](std::string_view line) {
    spec.pieces.emplace_back(line);
    spec.kinds.push_back(TokenKind::kNormal);
    cased = cased || (!line.starts_with('[') &&
                      std::any_of(line.begin(), line.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
  });
  mark_controls(spec, '[', ']');
  // "[unused7]" is an entry that text does not spell.
  std::erase_if(spec.added, [&](const text::AddedToken& token) {
    return spec.pieces[static_cast<std::size_t>(token.id)].starts_with("[unused");
  });
  spec.normalizer.push_back({.type = text::NormalizerStep::Type::kBert, .strip_accents = !cased, .lowercase = !cased});
  spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kBert});
  spec.decoder.wordpiece = spec.decoder.cleanup = true;
  check_unique_pieces(spec);
  guess_roles(spec);
  if (spec.special.cls == text::kNoToken || spec.special.sep == text::kNoToken) {
    fail(file.name(), "not a BERT vocabulary: it has no [CLS] and [SEP]");
  }
  spec.prefix = {spec.special.cls};
  spec.suffix = {spec.special.sep};
  spec.special.add_bos = spec.special.add_eos = true;
  return spec;
}

TokenizerSpec parse_word_map(const Bytes& file) {
  TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kWordLevel;
  const nlohmann::json document = parse_json_sorted(file.text(), file.name());
  const auto nested = document.is_object() ? document.find("token2id") : document.end();
  read_map(document.is_object() && nested != document.end() ? *nested : document, file.name(), spec);
  mark_controls(spec, '<', '>');
  bool characters = true;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    characters = characters && (spec.kinds[id] != TokenKind::kNormal || text::count_chars(spec.pieces[id]) == 1);
  }
  if (characters) {
    spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kFixedLength, .length = 1});
  } else {
    spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kWhitespaceSplit});
    spec.decoder.join_with_spaces = true;
  }
  guess_roles(spec);
  text::find_end_of_generation(spec);
  return spec;
}

}  // namespace lathe::formats
