#include "formats/tokenizer_roles.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/json.h"
#include "formats/added_token_reader.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_json_parts.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

using nlohmann::json;
using text::AddedToken;
using text::kNoToken;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

TokenId find_piece(const TokenizerSpec& spec, std::string_view piece) {
  if (piece.empty()) return kNoToken;
  const auto it = std::find(spec.pieces.begin(), spec.pieces.end(), piece);
  return it == spec.pieces.end() ? kNoToken : static_cast<TokenId>(it - spec.pieces.begin());
}

AddedToken* find_added(TokenizerSpec& spec, TokenId id) {
  const auto it = std::find_if(spec.added.begin(), spec.added.end(), [&](const AddedToken& t) { return t.id == id; });
  return it == spec.added.end() ? nullptr : &*it;
}

// The first of `names` that is an added control token.
TokenId find_control(const TokenizerSpec& spec, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    for (const AddedToken& token : spec.added) {
      if (token.special && spec.pieces[static_cast<std::size_t>(token.id)] == name) return token.id;
    }
  }
  return kNoToken;
}

// "bos_token": "<s>" or {"content": "<s>", ...}. An absent or null key changes nothing.
void read_role(const json& config, const char* key, std::string_view where, TokenizerSpec& spec, TokenId& role) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return;
  const json& content = it->is_object() && it->contains("content") ? (*it)["content"] : *it;
  if (!content.is_string()) fail(where, "\"{}\" is not the text of a token", key);
  const auto piece = content.get<std::string>();
  const TokenId id = find_piece(spec, piece);
  if (id == kNoToken) return;  // configurations name tokens that their vocabulary does not have
  role = id;
  if (find_added(spec, id) == nullptr) {
    spec.added.push_back({.id = id});
    TokenKind& kind = spec.kinds[static_cast<std::size_t>(id)];
    if (kind != TokenKind::kUnknown) kind = TokenKind::kControl;
  }
}

void set_bos(TokenizerSpec& spec, bool add) {
  auto& special = spec.special;
  if (special.bos == kNoToken) return;
  const bool there = std::find(spec.prefix.begin(), spec.prefix.end(), special.bos) != spec.prefix.end();
  if (add && !there) spec.prefix.insert(spec.prefix.begin(), special.bos);
  if (!add && there) std::erase(spec.prefix, special.bos);
}

void set_eos(TokenizerSpec& spec, bool add) {
  auto& special = spec.special;
  if (special.eos == kNoToken) return;
  const bool there = std::find(spec.suffix.begin(), spec.suffix.end(), special.eos) != spec.suffix.end();
  if (add && !there) spec.suffix.push_back(special.eos);
  if (!add && there) std::erase(spec.suffix, special.eos);
}

// add_bos and add_eos describe the prefix and suffix, whichever file those came from.
void note_additions(TokenizerSpec& spec) {
  const auto has = [](const std::vector<TokenId>& ids, TokenId id) {
    return id != kNoToken && std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  spec.special.add_bos = has(spec.prefix, spec.special.bos) || has(spec.prefix, spec.special.cls);
  spec.special.add_eos = has(spec.suffix, spec.special.eos) || has(spec.suffix, spec.special.sep);
}

// One id, or a list of them; ids outside the vocabulary are an error.
std::vector<TokenId> read_ids(const json& config, const char* key, std::string_view where, const TokenizerSpec& spec) {
  std::vector<TokenId> ids;
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return ids;
  const auto read = [&](const json& value) {
    if (!value.is_number_integer()) fail(where, "\"{}\" is not a token id", key);
    const auto id = value.get<std::int64_t>();
    if (id < 0) return;  // -1 says "none" in some files
    if (id >= static_cast<std::int64_t>(spec.size())) {
      fail(where, "\"{}\" is {}, but the vocabulary has {} entries", key, id, spec.size());
    }
    ids.push_back(static_cast<TokenId>(id));
  };
  if (it->is_array()) {
    for (const json& value : *it) read(value);
  } else {
    read(*it);
  }
  return ids;
}

json parse_object(std::string_view text, std::string_view name) {
  json config = parse_json_sorted(text, name);
  if (!config.is_object()) fail(name, "the JSON is not an object");
  return config;
}

}  // namespace

void guess_roles(TokenizerSpec& spec) {
  text::SpecialTokens& special = spec.special;
  const auto fill = [&](TokenId& role, std::initializer_list<std::string_view> names) {
    if (role == kNoToken) role = find_control(spec, names);
  };
  fill(special.cls, {"[CLS]"});
  fill(special.sep, {"[SEP]"});
  fill(special.mask, {"[MASK]", "<mask>"});
  fill(special.pad, {"[PAD]", "<pad>", "<|pad|>", "<PAD>", "<|padding|>"});
  fill(special.unknown, {"<unk>", "[UNK]"});
  fill(special.bos, {"<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<BOS>", "[BOS]",
                     "<\uff5cbegin\u2581of\u2581sentence\uff5c>"});
  fill(special.eos, {"</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<EOS>", "[EOS]",
                     "<\uff5cend\u2581of\u2581sentence\uff5c>"});
  note_additions(spec);
}

void apply_tokenizer_config(std::string_view text, std::string_view name, TokenizerSpec& spec) {
  const json config = parse_object(text, name);
  if (const auto added = config.find("added_tokens_decoder"); added != config.end() && added->is_object()) {
    AddedTokenReader reader(spec);
    for (const auto& [key, entry] : added->items()) {
      const bool number = !key.empty() && key.size() < 10 &&
                          std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (!number || !entry.is_object())
        fail(name, "\"added_tokens_decoder\" has the key {}, which is no id", text::quoted(key));
      const auto id = static_cast<std::int64_t>(std::stol(key));
      if (!reader.knows(id)) reader.add(id, entry, name);
    }
    if (!spec.scores.empty()) spec.scores.resize(spec.size(), 0.0f);
  }
  text::SpecialTokens& special = spec.special;
  read_role(config, "bos_token", name, spec, special.bos);
  read_role(config, "eos_token", name, spec, special.eos);
  read_role(config, "unk_token", name, spec, special.unknown);
  read_role(config, "pad_token", name, spec, special.pad);
  read_role(config, "sep_token", name, spec, special.sep);
  read_role(config, "cls_token", name, spec, special.cls);
  read_role(config, "mask_token", name, spec, special.mask);
  // The Llama classes build their post-processor from these two; elsewhere tokenizer.json's own template decides.
  const auto class_name = value_or<std::string>(config, "tokenizer_class", "", name);
  const bool llama = class_name.find("Llama") != std::string::npos || class_name.find("Gemma") != std::string::npos;
  const bool open = spec.prefix.empty() && spec.suffix.empty();
  if (config.contains("add_bos_token") && (llama || open))
    set_bos(spec, value_or(config, "add_bos_token", false, name));
  if (config.contains("add_eos_token") && (llama || open))
    set_eos(spec, value_or(config, "add_eos_token", false, name));
  note_additions(spec);
  std::erase_if(special.end_of_generation, [&](TokenId id) { return id == kNoToken; });
  text::find_end_of_generation(spec);
}

void apply_generation_config(std::string_view text, std::string_view name, TokenizerSpec& spec) {
  const json config = parse_object(text, name);
  text::SpecialTokens& special = spec.special;
  const auto bos = read_ids(config, "bos_token_id", name, spec), pad = read_ids(config, "pad_token_id", name, spec);
  const auto eos = read_ids(config, "eos_token_id", name, spec);
  if (special.bos == kNoToken && !bos.empty()) special.bos = bos[0];
  if (special.pad == kNoToken && !pad.empty()) special.pad = pad[0];
  if (special.eos == kNoToken && !eos.empty()) special.eos = eos[0];
  text::add_end_of_generation(spec, eos);
}

}  // namespace lathe::formats
