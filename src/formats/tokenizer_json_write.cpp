// TokenizerSpec to tokenizer.json and tokenizer_config.json.
#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "formats/tokenizer_json.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using text::kNoToken;
using text::ModelType;
using text::NormalizerStep;
using text::PrependScheme;
using text::PreTokenizerStep;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

std::string encode_base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t bits = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    for (std::size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= count ? kAlphabet[bits >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

Json pattern_json(const std::string& pattern, bool regex) { return {{regex ? "Regex" : "String", pattern}}; }

const char* behavior_name(PreTokenizerStep::Behavior behavior) {
  using Behavior = PreTokenizerStep::Behavior;
  switch (behavior) {
    case Behavior::kRemoved:
      return "Removed";
    case Behavior::kIsolated:
      return "Isolated";
    case Behavior::kMergedWithPrevious:
      return "MergedWithPrevious";
    case Behavior::kMergedWithNext:
      return "MergedWithNext";
    case Behavior::kContiguous:
      return "Contiguous";
  }
  return "";
}

const char* prepend_name(PrependScheme scheme) {
  return scheme == PrependScheme::kAlways ? "always" : scheme == PrependScheme::kFirst ? "first" : "never";
}

Json step_json(const NormalizerStep& step) {
  using Type = NormalizerStep::Type;
  switch (step.type) {
    case Type::kNfc:
      return {{"type", "NFC"}};
    case Type::kNfd:
      return {{"type", "NFD"}};
    case Type::kNfkc:
      return {{"type", "NFKC"}};
    case Type::kNfkd:
      return {{"type", "NFKD"}};
    case Type::kLowercase:
      return {{"type", "Lowercase"}};
    case Type::kStripAccents:
      return {{"type", "StripAccents"}};
    case Type::kByteLevel:
      return {{"type", "ByteLevel"}};
    case Type::kReplace:
      return {{"type", "Replace"}, {"pattern", pattern_json(step.pattern, step.regex)}, {"content", step.content}};
    case Type::kPrepend:
      return {{"type", "Prepend"}, {"prepend", step.content}};
    case Type::kStrip:
      return {{"type", "Strip"}, {"strip_left", step.left}, {"strip_right", step.right}};
    case Type::kPrecompiled:
      return {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(step.content)}};
    case Type::kBert:
      return {{"type", "BertNormalizer"},
              {"clean_text", step.clean_text},
              {"handle_chinese_chars", step.handle_chinese_chars},
              {"strip_accents", step.strip_accents},
              {"lowercase", step.lowercase}};
    case Type::kCollapseSpaces:
      break;
  }
  return nullptr;
}

Json normalizer_json(const TokenizerSpec& spec) {
  Json steps = Json::array();
  for (const NormalizerStep& step : spec.normalizer) {
    if (step.type == NormalizerStep::Type::kCollapseSpaces) {
      steps.push_back({{"type", "Replace"}, {"pattern", pattern_json("\\A +| +\\z", true)}, {"content", ""}});
      steps.push_back({{"type", "Replace"}, {"pattern", pattern_json(" {2,}", true)}, {"content", " "}});
    } else {
      steps.push_back(step_json(step));
    }
  }
  if (steps.empty()) return nullptr;
  return steps.size() == 1 ? steps[0] : Json{{"type", "Sequence"}, {"normalizers", steps}};
}

Json step_json(const PreTokenizerStep& step) {
  using Type = PreTokenizerStep::Type;
  switch (step.type) {
    case Type::kSplit:
      return {{"type", "Split"},
              {"pattern", pattern_json(step.pattern, step.regex)},
              {"behavior", behavior_name(step.behavior)},
              {"invert", step.invert}};
    case Type::kByteLevel:
      return {{"type", "ByteLevel"},
              {"add_prefix_space", step.add_prefix_space},
              {"trim_offsets", true},
              {"use_regex", step.use_regex}};
    case Type::kMetaspace:
      return {{"type", "Metaspace"},
              {"replacement", step.replacement},
              {"prepend_scheme", prepend_name(step.prepend)},
              {"split", step.split}};
    case Type::kDigits:
      return {{"type", "Digits"}, {"individual_digits", step.individual}};
    case Type::kPunctuation:
      return {{"type", "Punctuation"}, {"behavior", behavior_name(step.behavior)}};
    case Type::kWhitespace:
      return {{"type", "Whitespace"}};
    case Type::kWhitespaceSplit:
      return {{"type", "WhitespaceSplit"}};
    case Type::kBert:
      return {{"type", "BertPreTokenizer"}};
    case Type::kFixedLength:
      return {{"type", "FixedLength"}, {"length", step.length}};
  }
  return nullptr;
}

Json pre_tokenizer_json(const TokenizerSpec& spec) {
  Json steps = Json::array();
  bool byte_level = false;
  for (const PreTokenizerStep& step : spec.pre_tokenizer) {
    steps.push_back(step_json(step));
    byte_level = byte_level || step.type == PreTokenizerStep::Type::kByteLevel;
  }
  if (spec.byte_level && !byte_level) {
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  }
  if (steps.empty()) return nullptr;
  return steps.size() == 1 ? steps[0] : Json{{"type", "Sequence"}, {"pretokenizers", steps}};
}

Json post_processor_json(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return nullptr;
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  const auto add = [&](const std::vector<TokenId>& ids, int segment, bool to_single) {
    for (const TokenId id : ids) {
      const std::string& piece = spec.pieces[static_cast<std::size_t>(id)];
      const Json item = {{"SpecialToken", {{"id", piece}, {"type_id", segment}}}};
      if (to_single) single.push_back(item);
      pair.push_back(item);
      tokens[piece] = {{"id", piece}, {"ids", {id}}, {"tokens", {piece}}};
    }
  };
  const auto sequence = [](const char* name, int segment) {
    return Json{{"Sequence", {{"id", name}, {"type_id", segment}}}};
  };
  add(spec.prefix, 0, true);
  single.push_back(sequence("A", 0));
  pair.push_back(sequence("A", 0));
  add(spec.suffix, 0, true);
  if (spec.type != ModelType::kWordPiece) add(spec.prefix, 1, false);
  pair.push_back(sequence("B", 1));
  add(spec.suffix, 1, false);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

Json decoder_json(const TokenizerSpec& spec) {
  const text::DecoderSpec& d = spec.decoder;
  if (d.byte_level)
    return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  if (d.wordpiece) return {{"type", "WordPiece"}, {"prefix", d.prefix}, {"cleanup", d.cleanup}};
  if (!d.suffix.empty()) return {{"type", "BPEDecoder"}, {"suffix", d.suffix}};
  if (d.join_with_spaces) return nullptr;
  Json steps = Json::array();
  if (!d.space.empty())
    steps.push_back({{"type", "Replace"}, {"pattern", pattern_json(d.space, false)}, {"content", " "}});
  if (d.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (d.strip_space != PrependScheme::kNever)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

// SentencePiece BPE as merges: every way to write a piece as two pieces, best score first.
std::vector<text::Merge> merges_from_scores(const TokenizerSpec& spec) {
  std::vector<text::Merge> merges = text::merges_from_ranks(spec);
  std::stable_sort(merges.begin(), merges.end(), [&](const text::Merge& a, const text::Merge& b) {
    return spec.scores[static_cast<std::size_t>(a.result)] > spec.scores[static_cast<std::size_t>(b.result)];
  });
  return merges;
}

void append_json_string(std::string& out, std::string_view text) { out += Json(text).dump(); }

// model.vocab and model.merges have one entry per token, so they are written as text, not built as a document.
std::string vocabulary_text(const TokenizerSpec& spec) {
  std::string out = spec.type == ModelType::kUnigram ? "[" : "{";
  bool first = true;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const bool unigram = spec.type == ModelType::kUnigram;
    if (!unigram && spec.pieces[id].empty()) continue;  // a hole; a unigram list numbers its entries by place
    if (!text::is_valid_utf8(spec.pieces[id]))
      fail(spec.name, "token {} is not text, which tokenizer.json cannot say", id);
    if (!first) out += ",";
    first = false;
    out += "\n      ";
    if (unigram) out += '[';
    append_json_string(out, spec.pieces[id]);
    if (unigram) {
      out += fmt::format(", {}]", Json(static_cast<double>(spec.scores[id])).dump());
    } else {
      out += fmt::format(": {}", id);
    }
  }
  return out + (spec.type == ModelType::kUnigram ? "\n    ]" : "\n    }");
}

std::string merges_text(const TokenizerSpec& spec) {
  const bool listed = spec.type == ModelType::kBpe && !spec.merge_by_rank;
  const std::vector<text::Merge> derived = listed                         ? std::vector<text::Merge>()
                                           : spec.type == ModelType::kSpm ? merges_from_scores(spec)
                                                                          : text::merges_from_ranks(spec);
  std::string out = "[";
  bool first = true;
  for (const text::Merge& merge : listed ? spec.merges : derived) {
    out += first ? "\n      [" : ",\n      [";
    first = false;
    append_json_string(out, spec.pieces[static_cast<std::size_t>(merge.left)]);
    out += ", ";
    append_json_string(out, spec.pieces[static_cast<std::size_t>(merge.right)]);
    out += "]";
  }
  return out + "\n    ]";
}

std::string model_text(const TokenizerSpec& spec) {
  const auto unknown = [&]() -> Json {
    return spec.special.unknown == kNoToken ? Json(nullptr)
                                            : Json(spec.pieces[static_cast<std::size_t>(spec.special.unknown)]);
  };
  Json head = Json::object();
  switch (spec.type) {
    case ModelType::kBpe:
    case ModelType::kSpm:
      head = {
          {"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown()},
          {"continuing_subword_prefix", spec.continuing_prefix.empty() ? Json(nullptr) : Json(spec.continuing_prefix)},
          {"end_of_word_suffix", spec.word_suffix.empty() ? Json(nullptr) : Json(spec.word_suffix)},
          {"fuse_unk", spec.fuse_unknown},
          {"byte_fallback", spec.byte_fallback},
          {"ignore_merges", spec.ignore_merges}};
      break;
    case ModelType::kUnigram:
      head = {{"type", "Unigram"},
              {"unk_id", spec.special.unknown == kNoToken ? Json(nullptr) : Json(spec.special.unknown)},
              {"byte_fallback", spec.byte_fallback}};
      break;
    case ModelType::kWordPiece:
      head = {{"type", "WordPiece"},
              {"unk_token", unknown()},
              {"continuing_subword_prefix", spec.continuing_prefix},
              {"max_input_chars_per_word", spec.max_word_chars == 0 ? 100u : spec.max_word_chars}};
      break;
    case ModelType::kWordLevel:
      head = {{"type", "WordLevel"}, {"unk_token", unknown()}};
      break;
    case ModelType::kTrie:
      throw Error("a tokenizer.json cannot describe a longest-match (RWKV) tokenizer", spec.name,
                  "keep the GGUF file or the text vocabulary");
  }
  std::string out = "{\n";
  for (const auto& [name, value] : head.items()) out += fmt::format("    {}: {},\n", Json(name).dump(), value.dump());
  out += "    \"vocab\": " + vocabulary_text(spec);
  if (spec.type == ModelType::kBpe || spec.type == ModelType::kSpm) out += ",\n    \"merges\": " + merges_text(spec);
  return out + "\n  }";
}

}  // namespace

std::string write_tokenizer_json(const TokenizerSpec& spec) {
  std::vector<text::AddedToken> added = spec.added;
  std::sort(added.begin(), added.end(),
            [](const text::AddedToken& a, const text::AddedToken& b) { return a.id < b.id; });
  Json tokens = Json::array();
  for (const text::AddedToken& token : added) {
    tokens.push_back({{"id", token.id},
                      {"content", spec.pieces[static_cast<std::size_t>(token.id)]},
                      {"single_word", token.single_word},
                      {"lstrip", token.lstrip},
                      {"rstrip", token.rstrip},
                      {"normalized", token.normalized},
                      {"special", token.special}});
  }
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  const auto part = [&](const char* name, const Json& value) {
    out += fmt::format("  \"{}\": {},\n", name, value.dump());
  };
  part("added_tokens", tokens);
  part("normalizer", normalizer_json(spec));
  part("pre_tokenizer", pre_tokenizer_json(spec));
  part("post_processor", post_processor_json(spec));
  part("decoder", decoder_json(spec));
  out += "  \"model\": " + model_text(spec) + "\n}\n";
  return out;
}

std::string write_tokenizer_config(const TokenizerSpec& spec) {
  const text::SpecialTokens& s = spec.special;
  Json config = Json::object();
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  const auto role = [&](const char* name, TokenId id) {
    if (id != kNoToken) config[name] = spec.pieces[static_cast<std::size_t>(id)];
  };
  role("bos_token", s.bos);
  role("eos_token", s.eos);
  role("unk_token", s.unknown);
  role("pad_token", s.pad);
  role("sep_token", s.sep);
  role("cls_token", s.cls);
  role("mask_token", s.mask);
  config["add_bos_token"] = s.add_bos;
  config["add_eos_token"] = s.add_eos;
  config["clean_up_tokenization_spaces"] = false;
  return config.dump(2) + "\n";
}

}  // namespace lathe::formats
