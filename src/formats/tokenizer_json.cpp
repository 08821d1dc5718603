#include "formats/tokenizer_json.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "formats/added_token_reader.h"
#include "formats/tokenizer_json_document.h"
#include "formats/tokenizer_json_parts.h"
#include "formats/tokenizer_merges.h"
#include "formats/tokenizer_roles.h"
#include "text/byte_level.h"
#include "text/pre_tokenizer.h"

namespace lathe::formats {
namespace {

using nlohmann::json;
using text::kNoToken;
using text::ModelType;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

constexpr std::int64_t kMaxIdHoles = 1 << 20;  // ids that no entry has

ModelType model_type(const TokenizerDocument& document, const json& model, std::string_view where) {
  const auto name = value_or<std::string>(model, "type", "", where);
  if (name == "BPE") return ModelType::kBpe;
  if (name == "Unigram") return ModelType::kUnigram;
  if (name == "WordPiece") return ModelType::kWordPiece;
  if (name == "WordLevel") return ModelType::kWordLevel;
  if (!name.empty()) fail(where, "unknown tokenizer model \"{}\"", name);
  // Files of early versions do not say.
  if (document.vocab_is_array) return ModelType::kUnigram;
  if (!document.merges.empty()) return ModelType::kBpe;
  return member(model, "continuing_subword_prefix").is_string() ? ModelType::kWordPiece : ModelType::kWordLevel;
}

void place_vocabulary(TokenizerDocument& document, std::string_view where, TokenizerSpec& spec) {
  const auto count = static_cast<std::int64_t>(document.pieces.size());
  std::int64_t last = count - 1;
  for (const std::int64_t id : document.ids) last = std::max(last, id);
  if (last >= count + kMaxIdHoles) fail(where, "the vocabulary has {} entries, but an entry has id {}", count, last);
  spec.pieces.resize(static_cast<std::size_t>(last + 1));
  spec.kinds.assign(spec.size(), TokenKind::kUnused);
  if (document.vocab_is_array) spec.scores.assign(document.scores.begin(), document.scores.end());
  for (std::size_t i = 0; i < document.pieces.size(); ++i) {
    const auto id = document.vocab_is_array ? i : static_cast<std::size_t>(document.ids[i]);
    if (spec.kinds[id] != TokenKind::kUnused) fail(where, "two entries of the vocabulary have id {}", id);
    spec.pieces[id] = std::move(document.pieces[i]);
    spec.kinds[id] = TokenKind::kNormal;
  }
}

void read_model(TokenizerDocument& document, std::string_view where, TokenizerSpec& spec) {
  const json& model = member(document.rest, "model");
  if (!model.is_object()) fail(where, "not a tokenizer: \"model\" is missing");
  spec.type = model_type(document, model, where);
  if ((spec.type == ModelType::kUnigram) != document.vocab_is_array) {
    fail(where, "model.vocab is not in the form that the model needs");
  }
  place_vocabulary(document, where, spec);
  spec.byte_fallback = value_or(model, "byte_fallback", false, where);
  spec.ignore_merges = value_or(model, "ignore_merges", false, where);
  spec.fuse_unknown = value_or(model, "fuse_unk", spec.type == ModelType::kUnigram, where);
  spec.word_suffix = value_or<std::string>(model, "end_of_word_suffix", "", where);
  const bool word_piece = spec.type == ModelType::kWordPiece;
  spec.continuing_prefix = value_or<std::string>(model, "continuing_subword_prefix", word_piece ? "##" : "", where);
  spec.max_word_chars = value_or<std::uint32_t>(model, "max_input_chars_per_word", 100, where);
  if (spec.type == ModelType::kUnigram) {
    const auto unknown = value_or<std::int64_t>(model, "unk_id", -1, where);
    if (unknown >= static_cast<std::int64_t>(spec.size()))
      fail(where, "model.unk_id is {}, but the vocabulary has {} entries", unknown, spec.size());
    if (unknown >= 0) spec.special.unknown = static_cast<TokenId>(unknown);
  } else {
    const auto unknown = value_or<std::string>(model, "unk_token", "", where);
    const auto it = std::find(spec.pieces.begin(), spec.pieces.end(), unknown);
    if (!unknown.empty() && it != spec.pieces.end())
      spec.special.unknown = static_cast<TokenId>(it - spec.pieces.begin());
  }
}

void read_added(const json& list, std::string_view where, TokenizerSpec& spec) {
  if (list.is_null()) return;
  if (!list.is_array()) fail(where, "\"added_tokens\" is not a list");
  AddedTokenReader reader(spec);
  for (const json& entry : list) {
    if (!entry.is_object()) fail(where, "\"added_tokens\" has an entry that is not an object");
    const auto id = value_or<std::int64_t>(entry, "id", -1, where);
    reader.add(id, entry, where);
  }
}

void resolve_merges(TokenizerDocument& document, std::string_view where, TokenizerSpec& spec) {
  if (spec.type != ModelType::kBpe) return;
  MergeReader reader(spec, std::string(where));
  spec.merges.reserve(document.merges.size());
  for (const auto& [left, right] : document.merges) reader.add(left, right);
}

void mark_kinds(TokenizerSpec& spec) {
  if (spec.byte_fallback) {
    for (std::size_t id = 0; id < spec.size(); ++id) {
      if (spec.kinds[id] == TokenKind::kNormal && text::byte_token_value(spec.pieces[id]) >= 0)
        spec.kinds[id] = TokenKind::kByte;
    }
  }
  if (spec.special.unknown != kNoToken)
    spec.kinds[static_cast<std::size_t>(spec.special.unknown)] = TokenKind::kUnknown;
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, std::string_view name) {
  TokenizerDocument document = parse_tokenizer_document(text, name);
  TokenizerSpec spec;
  spec.name = name;
  spec.normalize_added = true;
  read_model(document, name, spec);
  resolve_merges(document, name, spec);  // merges name plain pieces, so before added tokens get their kinds
  read_normalizer_part(member(document.rest, "normalizer"), name, spec);
  read_pre_tokenizer_part(member(document.rest, "pre_tokenizer"), name, spec);
  read_added(member(document.rest, "added_tokens"), name, spec);
  mark_kinds(spec);
  read_post_processor_part(member(document.rest, "post_processor"), name, spec);
  read_decoder_part(member(document.rest, "decoder"), name, spec);
  spec.pre_name = text::pre_tokenizer_name(spec.pre_tokenizer);
  // A word-level file without a pre-tokenizer and without an unknown token was meant for text cut beforehand (SMILES
  // strings, event names); the longest entry at each place is that cut.
  if (spec.type == ModelType::kWordLevel && spec.pre_tokenizer.empty() && spec.special.unknown == kNoToken) {
    spec.type = ModelType::kTrie;
  }
  if (!spec.scores.empty()) spec.scores.resize(spec.size(), 0.0f);
  check_unique_pieces(spec);
  guess_roles(spec);
  text::find_end_of_generation(spec);
  return spec;
}

}  // namespace lathe::formats
