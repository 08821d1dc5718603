#include "formats/tokenizer_json_parts.h"

#include <array>

#include "base/checked.h"
#include "base/json.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using nlohmann::json;
using text::NormalizerStep;
using text::PrependScheme;
using text::PreTokenizerStep;
using text::TokenId;
using text::TokenizerSpec;

std::string type_of(const json& part, std::string_view where) {
  if (!part.is_object()) fail(where, "a part of the tokenizer is not an object");
  return value_or<std::string>(part, "type", "", where);
}

// "pattern": {"String": "..."} or {"Regex": "..."}.
bool read_pattern(const json& part, std::string& pattern, std::string_view where) {
  const json& value = member(part, "pattern");
  if (member(value, "Regex").is_string()) {
    pattern = member(value, "Regex").get<std::string>();
    return true;
  }
  if (!member(value, "String").is_string()) fail(where, "a pattern is neither a string nor a regular expression");
  pattern = member(value, "String").get<std::string>();
  return false;
}

PreTokenizerStep::Behavior read_behavior(const json& part, PreTokenizerStep::Behavior otherwise,
                                         std::string_view where) {
  using Behavior = PreTokenizerStep::Behavior;
  const auto name = value_or<std::string>(part, "behavior", "", where);
  if (name.empty()) return otherwise;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  fail(where, "unknown split behavior \"{}\"", name);
}

PrependScheme read_prepend_scheme(const json& part, std::string_view where) {
  const auto name = value_or<std::string>(part, "prepend_scheme", "", where);
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  if (!name.empty()) fail(where, "unknown prepend_scheme \"{}\"", name);
  return value_or(part, "add_prefix_space", true, where) ? PrependScheme::kAlways : PrependScheme::kNever;
}

std::string decode_base64(const std::string& text, std::string_view where) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> digits;
  digits.fill(-1);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int>(i);
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int digit = digits[static_cast<unsigned char>(c)];
    if (digit < 0) fail(where, "precompiled_charsmap is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return out;
}

void read_normalizer(const json& part, std::string_view where, TokenizerSpec& spec) {
  using Type = NormalizerStep::Type;
  const std::string type = type_of(part, where);
  NormalizerStep step;
  if (type == "Sequence") {
    for (const json& inner : member(part, "normalizers")) read_normalizer(inner, where, spec);
    return;
  }
  if (type == "NFC") {
    step.type = Type::kNfc;
  } else if (type == "NFD") {
    step.type = Type::kNfd;
  } else if (type == "NFKC") {
    step.type = Type::kNfkc;
  } else if (type == "NFKD") {
    step.type = Type::kNfkd;
  } else if (type == "Lowercase") {
    step.type = Type::kLowercase;
  } else if (type == "StripAccents") {
    step.type = Type::kStripAccents;
  } else if (type == "ByteLevel") {
    step.type = Type::kByteLevel;
  } else if (type == "Replace") {
    step.type = Type::kReplace;
    step.regex = read_pattern(part, step.pattern, where);
    step.content = value_or<std::string>(part, "content", "", where);
  } else if (type == "Prepend") {
    step.type = Type::kPrepend;
    step.content = value_or<std::string>(part, "prepend", "", where);
  } else if (type == "Strip") {
    step.type = Type::kStrip;
    step.left = value_or(part, "strip_left", true, where);
    step.right = value_or(part, "strip_right", true, where);
  } else if (type == "Precompiled") {
    step.type = Type::kPrecompiled;
    step.by_grapheme = true;
    step.content = decode_base64(value_or<std::string>(part, "precompiled_charsmap", "", where), where);
    if (step.content.empty()) return;
  } else if (type == "BertNormalizer") {
    step.type = Type::kBert;
    step.clean_text = value_or(part, "clean_text", true, where);
    step.handle_chinese_chars = value_or(part, "handle_chinese_chars", true, where);
    step.lowercase = value_or(part, "lowercase", true, where);
    step.strip_accents = value_or(part, "strip_accents", step.lowercase, where);
  } else {
    fail(where, "unknown normalizer \"{}\"", type);
  }
  spec.normalizer.push_back(std::move(step));
}

void read_pre_tokenizer(const json& part, std::string_view where, TokenizerSpec& spec) {
  using Type = PreTokenizerStep::Type;
  using Behavior = PreTokenizerStep::Behavior;
  const std::string type = type_of(part, where);
  PreTokenizerStep step;
  if (type == "Sequence") {
    for (const json& inner : member(part, "pretokenizers")) read_pre_tokenizer(inner, where, spec);
    return;
  }
  if (type == "Split") {
    step.type = Type::kSplit;
    step.regex = read_pattern(part, step.pattern, where);
    step.behavior = read_behavior(part, Behavior::kIsolated, where);
    step.invert = value_or(part, "invert", false, where);
  } else if (type == "ByteLevel") {
    step.type = Type::kByteLevel;
    step.add_prefix_space = value_or(part, "add_prefix_space", true, where);
    step.use_regex = value_or(part, "use_regex", true, where);
  } else if (type == "Metaspace") {
    step.type = Type::kMetaspace;
    step.replacement = value_or<std::string>(part, "replacement", std::string(text::kSpaceMark), where);
    step.prepend = read_prepend_scheme(part, where);
    step.split = value_or(part, "split", true, where);
  } else if (type == "Digits") {
    step.type = Type::kDigits;
    step.individual = value_or(part, "individual_digits", false, where);
  } else if (type == "Punctuation") {
    step.type = Type::kPunctuation;
    step.behavior = read_behavior(part, Behavior::kIsolated, where);
  } else if (type == "Whitespace") {
    step.type = Type::kWhitespace;
  } else if (type == "WhitespaceSplit") {
    step.type = Type::kWhitespaceSplit;
  } else if (type == "BertPreTokenizer") {
    step.type = Type::kBert;
  } else if (type == "CharDelimiterSplit") {
    step.type = Type::kSplit;
    step.regex = false;
    step.pattern = value_or<std::string>(part, "delimiter", " ", where);
    step.behavior = Behavior::kRemoved;
  } else if (type == "FixedLength") {
    step.type = Type::kFixedLength;
    step.length = value_or<std::uint32_t>(part, "length", 5, where);
  } else {
    fail(where, "unknown pre-tokenizer \"{}\"", type);
  }
  spec.pre_tokenizer.push_back(std::move(step));
}

// Appends the ids of one special token of a template.
void add_template_token(const json& processor, const std::string& name, std::string_view where,
                        std::vector<TokenId>& ids) {
  const json& token = member(member(processor, "special_tokens"), name.c_str());
  if (!member(token, "ids").is_array()) fail(where, "the template uses {}, which it does not define", name);
  for (const json& id : member(token, "ids")) {
    if (!id.is_number_integer()) fail(where, "the template's token {} has an id that is no number", name);
    ids.push_back(narrow<TokenId>(id.get<std::int64_t>(), "the id of a template's token", where));
  }
}

// BertProcessing and RobertaProcessing: "sep": ["[SEP]", 102].
void add_pair_token(const json& processor, const char* key, std::string_view where, std::vector<TokenId>& ids) {
  const json& pair = member(processor, key);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer())
    fail(where, "the post-processor's \"{}\" is no [token, id]", key);
  ids.push_back(narrow<TokenId>(pair[1].get<std::int64_t>(), "the id of the post-processor's token", where));
}

void read_decoder(const json& part, std::string_view where, TokenizerSpec& spec) {
  const std::string type = type_of(part, where);
  text::DecoderSpec& decoder = spec.decoder;
  if (type == "Sequence") {
    for (const json& inner : member(part, "decoders")) read_decoder(inner, where, spec);
  } else if (type == "ByteLevel") {
    decoder.byte_level = true;
  } else if (type == "ByteFallback") {
    decoder.byte_fallback = true;
  } else if (type == "Metaspace") {
    decoder.space = value_or<std::string>(part, "replacement", std::string(text::kSpaceMark), where);
    decoder.strip_space =
        read_prepend_scheme(part, where) == PrependScheme::kNever ? PrependScheme::kNever : PrependScheme::kFirst;
  } else if (type == "WordPiece") {
    decoder.wordpiece = true;
    decoder.prefix = value_or<std::string>(part, "prefix", "##", where);
    decoder.cleanup = value_or(part, "cleanup", true, where);
  } else if (type == "BPEDecoder") {
    decoder.suffix = value_or<std::string>(part, "suffix", "</w>", where);
  } else if (type == "Replace") {
    std::string pattern;
    const bool regex = read_pattern(part, pattern, where);
    if (regex || value_or<std::string>(part, "content", "", where) != " " ||
        (!decoder.space.empty() && decoder.space != pattern)) {
      fail(where, "the decoder replaces something other than one mark by a space");
    }
    decoder.space = pattern;
  } else if (type == "Strip") {
    const auto content = value_or<std::string>(part, "content", " ", where);
    const auto start = value_or<int>(part, "start", 0, where), stop = value_or<int>(part, "stop", 0, where);
    if (content != " " || start > 1 || stop != 0)
      fail(where, "the decoder strips something other than one leading space");
    if (start == 1) decoder.strip_space = PrependScheme::kFirst;
  } else if (type != "Fuse") {
    fail(where, "unknown decoder \"{}\"", type);
  }
}

}  // namespace

const json& member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

template <class T>
T value_or(const json& object, const char* key, T otherwise, std::string_view where) {
  const json& value = member(object, key);
  if (value.is_null()) return otherwise;
  try {
    if constexpr (std::is_same_v<T, bool>) {
      if (!value.is_boolean()) fail(where, "\"{}\" is not true or false", key);
    } else if constexpr (std::is_integral_v<T>) {
      if (!value.is_number_integer()) fail(where, "\"{}\" is not a whole number", key);
    }
    return value.get<T>();
  } catch (const json::exception&) {
    fail(where, "\"{}\" has the wrong type", key);
  }
}
template bool value_or(const json&, const char*, bool, std::string_view);
template int value_or(const json&, const char*, int, std::string_view);
template std::uint32_t value_or(const json&, const char*, std::uint32_t, std::string_view);
template std::int64_t value_or(const json&, const char*, std::int64_t, std::string_view);
template std::string value_or(const json&, const char*, std::string, std::string_view);

void read_normalizer_part(const json& part, std::string_view where, TokenizerSpec& spec) {
  if (!part.is_null()) read_normalizer(part, where, spec);
}

void read_pre_tokenizer_part(const json& part, std::string_view where, TokenizerSpec& spec) {
  if (!part.is_null()) read_pre_tokenizer(part, where, spec);
  for (std::size_t i = 0; i < spec.pre_tokenizer.size(); ++i) {
    if (spec.pre_tokenizer[i].type != PreTokenizerStep::Type::kByteLevel) continue;
    // Steps after ByteLevel see its alphabet; otherwise the model can work on the bytes themselves.
    const bool last = i + 1 == spec.pre_tokenizer.size() && spec.type == text::ModelType::kBpe;
    spec.byte_level = last;
    spec.pre_tokenizer[i].to_alphabet = !last;
  }
}

void read_post_processor_part(const json& part, std::string_view where, TokenizerSpec& spec) {
  if (part.is_null()) return;
  const std::string type = type_of(part, where);
  if (type == "Sequence") {
    for (const json& inner : member(part, "processors")) read_post_processor_part(inner, where, spec);
  } else if (type == "TemplateProcessing") {
    bool after = false;
    for (const json& item : member(part, "single")) {
      if (member(item, "Sequence").is_object()) {
        after = true;
      } else {
        const auto name = value_or<std::string>(member(item, "SpecialToken"), "id", "", where);
        add_template_token(part, name, where, after ? spec.suffix : spec.prefix);
      }
    }
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    add_pair_token(part, "cls", where, spec.prefix);
    add_pair_token(part, "sep", where, spec.suffix);
  } else if (type != "ByteLevel") {
    fail(where, "unknown post-processor \"{}\"", type);
  }
}

void read_decoder_part(const json& part, std::string_view where, TokenizerSpec& spec) {
  if (part.is_null()) {
    spec.decoder.join_with_spaces = true;
    return;
  }
  read_decoder(part, where, spec);
  if (spec.decoder.strip_space == PrependScheme::kNever) return;
  // A normalizer puts its space before every stretch between added tokens, so that is where it is taken away again.
  for (const NormalizerStep& step : spec.normalizer) {
    if (step.type == NormalizerStep::Type::kPrepend) spec.decoder.strip_space = PrependScheme::kAlways;
  }
}

}  // namespace lathe::formats
