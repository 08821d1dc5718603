// TokenizerSpec to tokenizer.ggml.* keys.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_rwkv.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using text::kNoToken;
using text::ModelType;
using text::NormalizerStep;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }

const NormalizerStep* find_step(const TokenizerSpec& spec, NormalizerStep::Type type) {
  const auto it = std::find_if(spec.normalizer.begin(), spec.normalizer.end(),
                               [&](const NormalizerStep& s) { return s.type == type; });
  return it == spec.normalizer.end() ? nullptr : &*it;
}

// A character BPE whose words start with "▁" is SentencePiece BPE: the merge list orders pieces as scores would.
bool is_spm_as_merges(const TokenizerSpec& spec) {
  return spec.type == ModelType::kBpe && !spec.byte_level && !spec.merge_by_rank &&
         spec.decoder.space == text::kSpaceMark && spec.word_suffix.empty() && spec.continuing_prefix.empty();
}

std::string model_name(const TokenizerSpec& spec) {
  if (is_spm_as_merges(spec)) return "llama";
  switch (spec.type) {
    case ModelType::kBpe:
      return "gpt2";
    case ModelType::kSpm:
      return "llama";
    case ModelType::kUnigram:
      return "t5";
    case ModelType::kWordPiece:
      return "bert";
    case ModelType::kTrie:
      return "rwkv";
    case ModelType::kWordLevel:
      break;
  }
  return "";
}

// Pieces must be unique text in GGUF; holes get a name of their own.
std::vector<std::string> gguf_pieces(const TokenizerSpec& spec) {
  std::vector<std::string> pieces = spec.pieces;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    std::string& piece = pieces[id];
    const bool plain = spec.kinds[id] == TokenKind::kNormal;
    if (piece.empty()) {
      piece = fmt::format("[PAD{}]", id);
    } else if (spec.type == ModelType::kWordPiece && plain && !(piece.front() == '[' && piece.back() == ']')) {
      const std::string& prefix = spec.continuing_prefix;
      if (piece.size() > prefix.size() && piece.starts_with(prefix)) {
        piece.erase(0, prefix.size());
      } else {
        piece.insert(0, text::kSpaceMark);
      }
    } else if (spec.type == ModelType::kTrie && plain) {
      piece = escape_rwkv_piece(piece);
    }
  }
  return pieces;
}

// The earlier a piece first results from a merge, the higher its score; single characters come last.
std::vector<float> scores_from_merges(const TokenizerSpec& spec) {
  std::vector<float> scores(spec.size(), 0.0f);
  std::vector<bool> known(spec.size(), false);
  float next = 0;
  for (const text::Merge& merge : spec.merges) {
    const auto id = static_cast<std::size_t>(merge.result);
    if (known[id]) continue;
    known[id] = true;
    scores[id] = next;
    next -= 1;
  }
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (known[id] || spec.kinds[id] != TokenKind::kNormal) continue;
    scores[id] = next;
    next -= 1;
  }
  return scores;
}

// The keys can only say whether one token of two roles is put around a text.
bool at_most_one_of(const std::vector<TokenId>& around, TokenId one, TokenId other) {
  return around.empty() || (around.size() == 1 && (around[0] == one || around[0] == other));
}

void write_merges(const TokenizerSpec& spec, Metadata& metadata) {
  const std::vector<text::Merge> derived =
      spec.merge_by_rank ? text::merges_from_ranks(spec) : std::vector<text::Merge>();
  std::vector<std::string> lines;
  for (const text::Merge& merge : spec.merge_by_rank ? derived : spec.merges) {
    lines.push_back(spec.pieces[static_cast<std::size_t>(merge.left)] + " " +
                    spec.pieces[static_cast<std::size_t>(merge.right)]);
  }
  metadata.set(key("merges"), MetaValue::strings(std::move(lines)));
}

void write_roles(const TokenizerSpec& spec, Metadata& metadata) {
  const text::SpecialTokens& s = spec.special;
  const auto write = [&](const char* name, TokenId id) {
    if (id != kNoToken) metadata.set(key(name), MetaValue::u32(static_cast<std::uint32_t>(id)));
  };
  write("bos_token_id", s.bos);
  write("eos_token_id", s.eos);
  write("unknown_token_id", s.unknown);
  write("seperator_token_id", s.sep);  // spelled so in the format
  write("padding_token_id", s.pad);
  write("cls_token_id", s.cls);
  write("mask_token_id", s.mask);
  for (const TokenId id : s.end_of_generation) {
    if (id == s.eos) continue;
    write("eot_token_id", id);
    break;
  }
  metadata.set(key("add_bos_token"), MetaValue::boolean(s.add_bos));
  metadata.set(key("add_eos_token"), MetaValue::boolean(s.add_eos));
}

void write_normalizer(const TokenizerSpec& spec, Metadata& metadata) {
  using Type = NormalizerStep::Type;
  bool prefix = find_step(spec, Type::kPrepend) != nullptr;
  for (const text::PreTokenizerStep& step : spec.pre_tokenizer) {
    prefix = prefix ||
             (step.type == text::PreTokenizerStep::Type::kMetaspace && step.prepend != text::PrependScheme::kNever) ||
             (step.type == text::PreTokenizerStep::Type::kByteLevel && step.add_prefix_space);
  }
  if (spec.type != ModelType::kWordPiece && spec.type != ModelType::kTrie)
    metadata.set(key("add_space_prefix"), MetaValue::boolean(prefix));
  if (spec.type != ModelType::kUnigram) return;
  metadata.set(key("remove_extra_whitespaces"), MetaValue::boolean(find_step(spec, Type::kCollapseSpaces) != nullptr));
  if (const NormalizerStep* map = find_step(spec, Type::kPrecompiled)) {
    metadata.set(key("precompiled_charsmap"),
                 {MetaType::kU8, true, Bytes::copy_of(map->content, "precompiled_charsmap")});
  }
}

}  // namespace

void write_gguf_tokenizer(const TokenizerSpec& spec, Metadata& metadata) {
  const std::string model = model_name(spec);
  std::string pre = spec.pre_name.empty() ? text::pre_tokenizer_name(spec.pre_tokenizer) : spec.pre_name;
  const text::SpecialTokens& roles = spec.special;
  const bool sayable = !model.empty() && (model != "gpt2" || (spec.byte_level && !pre.empty())) &&
                       at_most_one_of(spec.prefix, roles.bos, roles.cls) &&
                       at_most_one_of(spec.suffix, roles.eos, roles.sep);
  metadata.set(key("model"), MetaValue::string(model.empty() ? "gpt2" : model));
  metadata.set(key("pre"), MetaValue::string(model == "gpt2" && !pre.empty() ? pre : "default"));
  metadata.set(key("tokens"), MetaValue::strings(gguf_pieces(spec)));
  std::vector<std::int32_t> kinds;
  for (const TokenKind kind : spec.kinds) kinds.push_back(static_cast<std::int32_t>(kind));
  metadata.set(key("token_type"), MetaValue::i32s(kinds));
  if (is_spm_as_merges(spec)) {
    metadata.set(key("scores"), MetaValue::f32s(scores_from_merges(spec)));
  } else if (!spec.scores.empty()) {
    metadata.set(key("scores"), MetaValue::f32s(spec.scores));
  }
  if (spec.type == ModelType::kBpe && !is_spm_as_merges(spec)) write_merges(spec, metadata);
  write_roles(spec, metadata);
  write_normalizer(spec, metadata);
  if (!sayable) metadata.set("tokenizer.huggingface.json", MetaValue::string(write_tokenizer_json(spec)));
}

}  // namespace lathe::formats
