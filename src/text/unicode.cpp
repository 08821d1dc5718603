#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/error.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

utf8proc_category_t category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

CharClass slow_char_class(char32_t code) {
  if (is_white_space(code)) return kSpaceChar;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetterChar;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMarkChar;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumberChar;
    default:
      return kOtherChar;
  }
}

// Basic Multilingual Plane, one byte a character: 64 KiB filled on first use.
const std::array<CharClass, 0x10000>& bmp_classes() {
  static const auto table = [] {
    auto classes = std::make_unique<std::array<CharClass, 0x10000>>();
    for (char32_t code = 0; code < 0x10000; ++code) (*classes)[code] = slow_char_class(code);
    return classes;
  }();
  return *table;
}

// Normalizes one stretch in which canonical reordering is known to be short.
void normalize_stretch(std::string_view text, utf8proc_option_t options, std::vector<utf8proc_int32_t>& buffer,
                       std::string& out) {
  const auto* input = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_ssize_t count =
      utf8proc_decompose(input, size, buffer.data(), static_cast<utf8proc_ssize_t>(buffer.size()), options);
  if (count > static_cast<utf8proc_ssize_t>(buffer.size())) {
    buffer.resize(static_cast<std::size_t>(count) + 16);
    count = utf8proc_decompose(input, size, buffer.data(), static_cast<utf8proc_ssize_t>(buffer.size()), options);
  }
  if (count < 0) throw Error("text that is not valid UTF-8 reached Unicode normalization");
  if (options & UTF8PROC_COMPOSE) count = utf8proc_normalize_utf32(buffer.data(), count, options);
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    append_utf8(out, static_cast<char32_t>(buffer[static_cast<std::size_t>(i)]));
}

}  // namespace

bool is_white_space(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_letter(char32_t code) { return char_class(code) == kLetterChar; }
bool is_number(char32_t code) { return char_class(code) == kNumberChar; }
bool is_mark(char32_t code) { return char_class(code) == kMarkChar; }
bool is_nonspacing_mark(char32_t code) { return code >= 0x300 && category(code) == UTF8PROC_CATEGORY_MN; }

bool is_punctuation(char32_t code) {
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool is_word_char(char32_t code) {
  switch (char_class(code)) {
    case kLetterChar:
    case kMarkChar:
      return true;
    case kNumberChar:
      return category(code) != UTF8PROC_CATEGORY_NO;
    default:
      return category(code) == UTF8PROC_CATEGORY_PC || code == 0x200c || code == 0x200d;
  }
}

bool is_control_or_format(char32_t code) {
  const auto c = category(code);
  return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO ||
         c == UTF8PROC_CATEGORY_CS;
}

bool is_cjk(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

CharClass char_class(char32_t code) {
  static const auto& table = bmp_classes();
  return code < 0x10000 ? table[code] : slow_char_class(code);
}

std::string normalize(std::string_view text, NormalForm form) {
  // Bytes: bounds the quadratic reordering of combining marks. Past the first limit a stretch ends before the next
  // character that cannot combine with the one before it, at the second limit anywhere.
  constexpr std::size_t kMaxStretch = 512, kHardStretch = 1024;
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  int options = UTF8PROC_STABLE;
  options |= form == NormalForm::kNfc || form == NormalForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::kNfkc || form == NormalForm::kNfkd) options |= UTF8PROC_COMPAT;
  std::vector<utf8proc_int32_t> buffer(1024);
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  // No composition takes an ASCII character as its second part, so stretches may start at one.
  std::size_t start = 0, at = 0;
  while (at < text.size()) {
    const auto ascii = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
    while (at < text.size() && ascii(at)) ++at;
    const std::size_t last_ascii = at > start ? at - 1 : at;
    out.append(text.substr(start, last_ascii - start));
    start = last_ascii;
    while (at < text.size() && !ascii(at) && at - start < kHardStretch) {
      const Utf8Char c = decode_utf8(text, at);
      const bool combines = is_mark(c.code) || (c.code >= 0x1160 && c.code <= 0x11ff);
      if (at - start >= kMaxStretch && !combines) break;
      at += c.length;
    }
    if (at > start)
      normalize_stretch(text.substr(start, at - start), static_cast<utf8proc_option_t>(options), buffer, out);
    start = at;
  }
  return out;
}

std::string_view first_grapheme(std::string_view text) {
  Utf8Char c = decode_utf8(text, 0);
  std::size_t at = c.length;
  utf8proc_int32_t state = 0;
  while (c.valid && at < text.size()) {
    const Utf8Char next = decode_utf8(text, at);
    if (!next.valid || utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.code),
                                                        static_cast<utf8proc_int32_t>(next.code), &state))
      break;
    at += next.length;
    c = next;
  }
  return text.substr(0, at);
}

int cell_width(char32_t code) { return utf8proc_charwidth(static_cast<utf8proc_int32_t>(code)); }

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) {
      out += text[at];
    } else if (c.code < 0x80) {
      out += static_cast<char>(c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code);
    } else if (c.code == 0x130) {  // the one character whose lower case is two: i and a dot above
      out += "i\u0307";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code))));
    }
    at += c.length;
  }
  return out;
}

}  // namespace lathe::text
