#include "formats/tokenizer_tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

#include "base/error.h"
#include "formats/tokenizer_merges.h"
#include "text/byte_level.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

constexpr std::size_t kLargestRank = std::size_t{1} << 24;
constexpr std::size_t kMaxRankHoles = 1 << 16;  // ranks that no line has

// Whisper's languages in the order of their tokens (openai/whisper, MIT).
constexpr std::string_view kWhisperLanguages[] = {
    "en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt",  "tr", "pl", "ca", "nl", "ar", "sv", "it", "id",
    "hi", "fi", "vi", "he", "uk", "el", "ms", "cs", "ro",  "da", "hu", "ta", "no", "th", "ur", "hr", "bg",
    "lt", "la", "mi", "ml", "cy", "sk", "te", "fa", "lv",  "bn", "sr", "az", "sl", "kn", "et", "mk", "br",
    "eu", "is", "hy", "ne", "mn", "bs", "kk", "sq", "sw",  "gl", "mr", "pa", "si", "km", "sn", "yo", "so",
    "af", "oc", "ka", "be", "tg", "sd", "gu", "am", "yi",  "lo", "uz", "fo", "ht", "ps", "tk", "nn", "mt",
    "sa", "lb", "my", "bo", "tl", "mg", "as", "tt", "haw", "ln", "ha", "ba", "jw", "su"};

// Decodes one base64 word (RFC 4648, padded); false when it is none.
bool decode_base64(std::string_view word, std::string& out) {
  static constexpr auto kDigits = [] {
    std::array<int, 256> digits{};
    for (auto& d : digits) d = -1;
    const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 64; ++i) digits[static_cast<unsigned char>(alphabet[i])] = i;
    return digits;
  }();
  out.clear();
  if (word.empty() || word.size() % 4 != 0) return false;
  while (!word.empty() && word.back() == '=') word.remove_suffix(1);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : word) {
    const int digit = kDigits[static_cast<unsigned char>(c)];
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return !out.empty();
}

// "base64 rank"; false when the line is not of this form.
bool parse_line(std::string_view line, std::string& bytes, std::size_t& rank) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || !decode_base64(line.substr(0, space), bytes)) return false;
  const std::string_view digits = line.substr(space + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  return error == std::errc() && end == digits.data() + digits.size();
}

TiktokenFamily guess_family(const TokenizerSpec& spec) {
  switch (spec.size()) {
    case 128000:
      return TiktokenFamily::kLlama3;
    case 100256:
      return TiktokenFamily::kCl100k;
    case 199998:
      return TiktokenFamily::kO200k;
    case 151643:
      return TiktokenFamily::kQwen;
    case 50256:
      return TiktokenFamily::kGpt2;
    case 50257:
      return TiktokenFamily::kWhisper;
    default:
      throw Error(fmt::format("cannot tell which model a rank file of {} tokens belongs to", spec.size()), spec.name,
                  "use the model's tokenizer.json instead");
  }
}

TokenId add_control(TokenizerSpec& spec, std::string piece) {
  const auto id = static_cast<TokenId>(spec.size());
  spec.pieces.push_back(std::move(piece));
  spec.kinds.push_back(TokenKind::kControl);
  spec.added.push_back({.id = id});
  return id;
}

void skip_to(TokenizerSpec& spec, std::size_t id) {
  while (spec.size() < id) {
    spec.pieces.push_back(fmt::format("[UNUSED{}]", spec.size()));
    spec.kinds.push_back(TokenKind::kUnused);
  }
}

void add_llama3_controls(TokenizerSpec& spec) {
  const std::size_t first = spec.size();
  for (const char* name :
       {"begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id",
        "step_id", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag", "image"}) {
    add_control(spec, fmt::format("<|{}|>", name));
  }
  for (int i = 2; spec.size() < first + 256; ++i) add_control(spec, fmt::format("<|reserved_special_token_{}|>", i));
  spec.special.bos = static_cast<TokenId>(first);
  spec.special.eos = static_cast<TokenId>(first + 1);
  spec.special.pad = static_cast<TokenId>(first + 4);
  spec.special.add_bos = true;
  spec.prefix = {spec.special.bos};
}

void add_whisper_controls(TokenizerSpec& spec) {
  spec.special.eos = add_control(spec, "<|endoftext|>");
  const TokenId start = add_control(spec, "<|startoftranscript|>");
  for (const std::string_view language : kWhisperLanguages) {
    add_control(spec, fmt::format("<|{}|>", language));
  }
  for (const char* name : {"translate", "transcribe", "startoflm", "startofprev", "nospeech"})
    add_control(spec, fmt::format("<|{}|>", name));
  const TokenId no_times = add_control(spec, "<|notimestamps|>");
  for (int i = 0; i <= 1500; ++i) add_control(spec, fmt::format("<|{:.2f}|>", i * 0.02));
  spec.special.bos = start;
  spec.prefix = {start, no_times};
  spec.suffix = {spec.special.eos};
  spec.special.add_bos = spec.special.add_eos = true;
}

void apply_family(TiktokenFamily family, TokenizerSpec& spec) {
  switch (family) {
    case TiktokenFamily::kGpt2:
      spec.pre_name = "gpt-2";
      spec.special.eos = spec.special.bos = add_control(spec, "<|endoftext|>");
      break;
    case TiktokenFamily::kWhisper:
    case TiktokenFamily::kWhisperEnglish:
      spec.pre_name = "gpt-2";
      add_whisper_controls(spec);
      break;
    case TiktokenFamily::kCl100k:
      spec.pre_name = "llama-bpe";
      skip_to(spec, 100257);
      spec.special.eos = add_control(spec, "<|endoftext|>");
      for (const char* name : {"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"}) add_control(spec, name);
      skip_to(spec, 100276);
      add_control(spec, "<|endofprompt|>");
      break;
    case TiktokenFamily::kO200k:
      spec.pre_name = "gpt-4o";
      skip_to(spec, 199999);
      spec.special.eos = add_control(spec, "<|endoftext|>");
      skip_to(spec, 200018);
      add_control(spec, "<|endofprompt|>");
      break;
    case TiktokenFamily::kLlama3:
      spec.pre_name = "llama-bpe";
      add_llama3_controls(spec);
      break;
    case TiktokenFamily::kQwen:
      spec.pre_name = "qwen2";
      spec.normalizer.push_back({.type = text::NormalizerStep::Type::kNfc});
      spec.special.eos = spec.special.pad = add_control(spec, "<|endoftext|>");
      add_control(spec, "<|im_start|>");
      add_control(spec, "<|im_end|>");
      for (int i = 0; i < 205; ++i) add_control(spec, fmt::format("<|extra_{}|>", i));
      break;
  }
  spec.pre_tokenizer = *text::pre_tokenizer_by_name(spec.pre_name);
}

}  // namespace

std::optional<TiktokenFamily> tiktoken_family(std::string_view name) {
  constexpr std::pair<std::string_view, TiktokenFamily> kNames[] = {
      {"gpt2", TiktokenFamily::kGpt2},
      {"cl100k", TiktokenFamily::kCl100k},
      {"o200k", TiktokenFamily::kO200k},
      {"llama3", TiktokenFamily::kLlama3},
      {"qwen", TiktokenFamily::kQwen},
      {"whisper", TiktokenFamily::kWhisper},
      {"whisper-english", TiktokenFamily::kWhisperEnglish}};
  for (const auto& [known, family] : kNames) {
    if (known == name) return family;
  }
  return std::nullopt;
}

bool is_tiktoken(const Bytes& file) {
  const std::string_view start = file.text().substr(0, 4096);
  std::string bytes;
  std::size_t rank = 0;
  return parse_line(start.substr(0, start.find_first_of("\r\n")), bytes, rank);
}

TokenizerSpec parse_tiktoken(const Bytes& file, std::optional<TiktokenFamily> family) {
  TokenizerSpec spec;
  spec.name = file.name();
  spec.type = text::ModelType::kBpe;
  spec.byte_level = spec.merge_by_rank = spec.ignore_merges = true;
  spec.decoder.byte_level = true;
  std::string_view rest = file.text();
  std::string bytes;
  std::size_t holes = 0;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    std::size_t rank = 0;
    if (!parse_line(line, bytes, rank)) {
      // Whisper's multilingual file ends with one empty token, "= 50256".
      if (line.substr(0, 2) == "= ") {
        skip_to(spec, spec.size() + 1);
        continue;
      }
      fail(file.name(), "line {} is not \"base64 rank\": {}", number, text::quoted(line));
    }
    if (rank < spec.size() || rank > kLargestRank || rank - spec.size() > kMaxRankHoles - holes) {
      fail(file.name(), "line {}: rank {} is out of order", number, rank);
    }
    holes += rank - spec.size();
    skip_to(spec, rank);
    spec.pieces.push_back(text::bytes_to_alphabet(bytes));
    spec.kinds.push_back(TokenKind::kNormal);
  }
  if (spec.size() == 0) fail(file.name(), "the rank file is empty");
  apply_family(family ? *family : guess_family(spec), spec);
  check_unique_pieces(spec);
  text::find_end_of_generation(spec);
  return spec;
}

}  // namespace lathe::formats
