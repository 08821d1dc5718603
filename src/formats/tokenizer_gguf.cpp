#include "formats/tokenizer_gguf.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <optional>

#include "base/log.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_merges.h"
#include "formats/tokenizer_rwkv.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using text::AddedToken;
using text::kNoToken;
using text::ModelType;
using text::NormalizerStep;
using text::PrependScheme;
using text::PreTokenizerStep;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

// What llama.cpp assumes when a key is absent.
struct Defaults {
  TokenId bos = kNoToken, eos = kNoToken, unknown = kNoToken, pad = kNoToken, sep = kNoToken, cls = kNoToken,
          mask = kNoToken;
  bool add_bos = false, add_eos = false;
};

TokenId special_id(const Metadata& metadata, const char* key, TokenId otherwise, std::size_t size) {
  const auto id = metadata.integer(std::string("tokenizer.ggml.") + key);
  if (!id) return otherwise >= 0 && static_cast<std::size_t>(otherwise) < size ? otherwise : kNoToken;
  if (*id == -1 || *id == std::numeric_limits<std::uint32_t>::max()) return kNoToken;
  if (*id < 0 || static_cast<std::uint64_t>(*id) >= size) {
    fail(metadata.file(), "tokenizer.ggml.{} is {}, but the vocabulary has {} entries", key, *id, size);
  }
  return static_cast<TokenId>(*id);
}

void read_pieces(const Metadata& metadata, TokenizerSpec& spec) {
  auto pieces = metadata.strings("tokenizer.ggml.tokens");
  if (!pieces) fail(metadata.file(), "the file has no vocabulary (tokenizer.ggml.tokens is missing)");
  spec.pieces = std::move(*pieces);
  spec.kinds.assign(spec.size(), TokenKind::kNormal);
  if (const auto kinds = metadata.integers("tokenizer.ggml.token_type")) {
    if (kinds->size() != spec.size()) {
      fail(metadata.file(), "tokenizer.ggml.token_type has {} entries for {} tokens", kinds->size(), spec.size());
    }
    for (std::size_t id = 0; id < spec.size(); ++id) {
      const std::int64_t kind = (*kinds)[id];
      if (kind < 0 || kind > 6) fail(metadata.file(), "token {} has the unknown type {}", id, kind);
      spec.kinds[id] = kind == 0 ? TokenKind::kNormal : static_cast<TokenKind>(kind);
    }
  }
  if (const auto scores = metadata.numbers("tokenizer.ggml.scores")) {
    if (scores->size() != spec.size()) {
      fail(metadata.file(), "tokenizer.ggml.scores has {} entries for {} tokens", scores->size(), spec.size());
    }
    spec.scores.assign(scores->begin(), scores->end());
  }
}

void read_roles(const Metadata& metadata, const Defaults& defaults, TokenizerSpec& spec) {
  const std::size_t n = spec.size();
  text::SpecialTokens& s = spec.special;
  s.bos = special_id(metadata, "bos_token_id", defaults.bos, n);
  s.eos = special_id(metadata, "eos_token_id", defaults.eos, n);
  s.unknown = special_id(metadata, "unknown_token_id", defaults.unknown, n);
  const bool spelled_right = metadata.has("tokenizer.ggml.separator_token_id");
  s.sep = special_id(metadata, spelled_right ? "separator_token_id" : "seperator_token_id", defaults.sep, n);
  s.pad = special_id(metadata, "padding_token_id", defaults.pad, n);
  s.cls = special_id(metadata, "cls_token_id", defaults.cls, n);
  s.mask = special_id(metadata, "mask_token_id", defaults.mask, n);
  for (const char* key : {"eot_token_id", "eom_token_id"}) {
    const TokenId id = special_id(metadata, key, kNoToken, n);
    if (id != kNoToken) s.end_of_generation.push_back(id);
  }
}

void read_special(const Metadata& metadata, const Defaults& defaults, TokenizerSpec& spec) {
  read_roles(metadata, defaults, spec);
  text::SpecialTokens& s = spec.special;
  s.add_bos = metadata.boolean("tokenizer.ggml.add_bos_token").value_or(defaults.add_bos);
  s.add_eos = metadata.boolean("tokenizer.ggml.add_eos_token").value_or(defaults.add_eos);
  if (s.add_bos && s.bos != kNoToken) spec.prefix.push_back(s.bos);
  if (s.add_eos && s.eos != kNoToken) spec.suffix.push_back(s.eos);
}

// Control, unknown and user-defined entries are found in the raw text; user-defined ones always.
void collect_added(TokenizerSpec& spec) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const TokenKind kind = spec.kinds[id];
    if (spec.pieces[id].empty()) continue;
    if (kind == TokenKind::kControl || kind == TokenKind::kUnknown || kind == TokenKind::kUserDefined) {
      spec.added.push_back({.id = static_cast<TokenId>(id), .special = kind != TokenKind::kUserDefined});
    }
  }
}

// Phi-3 tokens swallow the white space after them, which GGUF has no key for; its files are known by name.
void mark_phi3(const Metadata& metadata, TokenizerSpec& spec) {
  std::string name = metadata.string("general.name").value_or("");
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
  for (AddedToken& token : spec.added) {
    const std::string& piece = spec.pieces[static_cast<std::size_t>(token.id)];
    token.rstrip = piece != "<unk>" && piece != "<s>" && piece != "<|endoftext|>";
  }
}

NormalizerStep replace_spaces() {
  return {.type = NormalizerStep::Type::kReplace, .pattern = " ", .content = std::string(text::kSpaceMark)};
}

void use_space_mark(TokenizerSpec& spec, bool prefix) {
  spec.normalizer.push_back(replace_spaces());
  if (prefix)
    spec.normalizer.push_back({.type = NormalizerStep::Type::kPrepend, .content = std::string(text::kSpaceMark)});
  spec.decoder.space = text::kSpaceMark;
  spec.decoder.byte_fallback = true;
  spec.decoder.strip_space = prefix ? PrependScheme::kAlways : PrependScheme::kNever;
}

void read_spm(const Metadata& metadata, TokenizerSpec& spec) {
  spec.type = ModelType::kSpm;
  spec.byte_fallback = true;
  if (spec.scores.empty()) fail(metadata.file(), "the vocabulary has no scores (tokenizer.ggml.scores)");
  read_special(metadata, {.bos = 1, .eos = 2, .unknown = 0, .add_bos = true}, spec);
  use_space_mark(spec, metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true));
  collect_added(spec);
  mark_phi3(metadata, spec);
}

void read_unigram(const Metadata& metadata, TokenizerSpec& spec) {
  spec.type = ModelType::kUnigram;
  if (spec.scores.empty()) fail(metadata.file(), "the vocabulary has no scores (tokenizer.ggml.scores)");
  read_special(metadata, {.eos = 1, .unknown = 2, .pad = 0, .add_eos = true}, spec);
  const auto bytes = text::byte_token_ids(spec);
  spec.byte_fallback = std::all_of(bytes.begin(), bytes.end(), [](TokenId id) { return id != kNoToken; });
  if (const MetaValue* map = metadata.find("tokenizer.ggml.precompiled_charsmap"); map != nullptr) {
    const auto* raw = std::get_if<Bytes>(&map->value);
    if (raw == nullptr || meta_type_bytes(map->type) != 1)
      fail(metadata.file(), "tokenizer.ggml.precompiled_charsmap is not an array of bytes");
    if (raw->size() > 0)
      spec.normalizer.push_back({.type = NormalizerStep::Type::kPrecompiled, .content = std::string(raw->text())});
  }
  if (metadata.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false)) {
    spec.normalizer.push_back({.type = NormalizerStep::Type::kCollapseSpaces});
  }
  use_space_mark(spec, metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true));
  spec.decoder.byte_fallback = spec.byte_fallback;
  collect_added(spec);
}

void read_merges(const Metadata& metadata, TokenizerSpec& spec) {
  const auto merges = metadata.strings("tokenizer.ggml.merges");
  if (!merges) fail(metadata.file(), "the vocabulary has no merges (tokenizer.ggml.merges)");
  MergeReader reader(spec, metadata.file());
  spec.merges.reserve(merges->size());
  for (const std::string& merge : *merges) reader.add(merge);
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void read_bpe(const Metadata& metadata, TokenizerSpec& spec) {
  spec.type = ModelType::kBpe;
  spec.byte_level = true;
  spec.decoder.byte_level = true;
  spec.pre_name = metadata.string("tokenizer.ggml.pre").value_or("");
  if (spec.pre_name.empty()) {
    log_warning(
        "{}: the file does not name its pre-tokenizer (tokenizer.ggml.pre); using the default, which may not be the "
        "model's",
        metadata.file());
    spec.pre_name = "default";
  }
  auto steps = text::pre_tokenizer_by_name(spec.pre_name);
  if (!steps) {
    throw Error(fmt::format("unknown pre-tokenizer \"{}\" (tokenizer.ggml.pre)", spec.pre_name), metadata.file(),
                "convert the model from its Hugging Face folder, whose tokenizer.json spells the pre-tokenizer out");
  }
  spec.pre_tokenizer = std::move(*steps);
  Defaults defaults;
  const bool llama3 = is_one_of(spec.pre_name, {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral",
                                                "midm-2.0", "lfm2", "tekken"});
  spec.ignore_merges = llama3 || is_one_of(spec.pre_name, {"youtu"});
  defaults.add_bos = llama3 || is_one_of(spec.pre_name, {"chameleon"});
  read_special(metadata, defaults, spec);
  if (is_one_of(spec.pre_name, {"jina-v1-en", "jina-v2-code", "roberta-bpe"}) && spec.special.sep != kNoToken &&
      spec.suffix.empty()) {
    spec.suffix.push_back(spec.special.sep);
  }
  if (metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(false)) {
    PreTokenizerStep space{.type = PreTokenizerStep::Type::kByteLevel};
    space.add_prefix_space = true;
    space.use_regex = false;
    spec.pre_tokenizer.insert(spec.pre_tokenizer.begin(), space);
  }
  read_merges(metadata, spec);
  collect_added(spec);
}

// BERT in GGUF marks the start of a word ("▁word", "ing") instead of its inside ("word", "##ing").
void read_word_piece(const Metadata& metadata, TokenizerSpec& spec) {
  spec.type = ModelType::kWordPiece;
  spec.continuing_prefix = "##";
  spec.max_word_chars = 0;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    std::string& piece = spec.pieces[id];
    if (piece.rfind(text::kSpaceMark, 0) == 0) {
      piece.erase(0, text::kSpaceMark.size());
    } else if (spec.kinds[id] == TokenKind::kNormal && !piece.empty() &&
               !(piece.front() == '[' && piece.back() == ']')) {
      piece.insert(0, "##");
    }
  }
  read_special(metadata,
               {.unknown = 100, .pad = 0, .sep = 102, .cls = 101, .mask = 103, .add_bos = true, .add_eos = true}, spec);
  if (spec.special.cls == kNoToken) spec.special.cls = spec.special.bos;
  if (spec.special.sep == kNoToken) spec.special.sep = spec.special.eos;
  spec.prefix.clear();
  spec.suffix.clear();
  if (spec.special.add_bos && spec.special.cls != kNoToken) spec.prefix.push_back(spec.special.cls);
  if (spec.special.add_eos && spec.special.sep != kNoToken) spec.suffix.push_back(spec.special.sep);
  spec.normalizer.push_back({.type = NormalizerStep::Type::kBert});
  spec.pre_tokenizer.push_back({.type = PreTokenizerStep::Type::kBert});
  spec.decoder.wordpiece = true;
  spec.decoder.cleanup = true;
  collect_added(spec);
}

void read_rwkv(const Metadata& metadata, TokenizerSpec& spec) {
  spec.type = ModelType::kTrie;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (spec.kinds[id] == TokenKind::kNormal)
      spec.pieces[id] = unescape_rwkv_piece(spec.pieces[id], metadata.file(), id);
  }
  read_special(metadata, {}, spec);
  collect_added(spec);
}

}  // namespace

bool has_gguf_tokenizer(const Metadata& metadata) { return metadata.has("tokenizer.ggml.tokens"); }

TokenizerSpec read_gguf_tokenizer(const Metadata& metadata) {
  TokenizerSpec spec;
  spec.name = metadata.file();
  const auto model = metadata.string("tokenizer.ggml.model");
  if (!model) fail(metadata.file(), "the file has no vocabulary (tokenizer.ggml.model is missing)");
  if (const auto json = metadata.string("tokenizer.huggingface.json")) {
    spec = parse_tokenizer_json(*json, metadata.file());
    read_roles(metadata, {}, spec);
    text::find_end_of_generation(spec);
    return spec;
  }
  read_pieces(metadata, spec);
  if (*model == "llama") {
    read_spm(metadata, spec);
  } else if (*model == "gpt2") {
    read_bpe(metadata, spec);
  } else if (*model == "bert") {
    read_word_piece(metadata, spec);
  } else if (*model == "t5") {
    read_unigram(metadata, spec);
  } else if (*model == "rwkv") {
    read_rwkv(metadata, spec);
  } else {
    fail(metadata.file(), "unknown tokenizer model \"{}\" (tokenizer.ggml.model)", *model);
  }
  check_unique_pieces(spec);
  text::find_end_of_generation(spec);
  return spec;
}

}  // namespace lathe::formats
