#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/utf8.h"

namespace lathe::jinja {
namespace {

bool continuation(unsigned char c) { return (c & 0xC0) == 0x80; }

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

// One character to several: the entries of Unicode's SpecialCasing.txt that texts meet.
std::u32string_view upper_special(char32_t c) {
  switch (c) {
    case 0xDF:
      return U"SS";
    case 0x149:
      return U"\u02BCN";
    case 0x1F0:
      return U"J\u030C";
    case 0xFB00:
      return U"FF";
    case 0xFB01:
      return U"FI";
    case 0xFB02:
      return U"FL";
    case 0xFB03:
      return U"FFI";
    case 0xFB04:
      return U"FFL";
    case 0xFB05:
    case 0xFB06:
      return U"ST";
    default:
      return {};
  }
}

std::u32string_view title_special(char32_t c) {
  switch (c) {
    case 0xDF:
      return U"Ss";
    case 0x149:
      return U"\u02BCN";
    case 0x1F0:
      return U"J\u030C";
    case 0xFB00:
      return U"Ff";
    case 0xFB01:
      return U"Fi";
    case 0xFB02:
      return U"Fl";
    case 0xFB03:
      return U"Ffi";
    case 0xFB04:
      return U"Ffl";
    case 0xFB05:
    case 0xFB06:
      return U"St";
    default:
      return {};
  }
}

void append_special(std::string& out, std::u32string_view text) {
  for (char32_t c : text) text::append_utf8(out, c);
}

bool is_cased(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT || is_upper(c) ||
         is_lower(c);
}

// A capital sigma after a letter and before none is written as the final sigma.
bool final_sigma(std::string_view text, std::size_t at, bool after_letter) {
  const std::size_t next = at + 2;
  return after_letter && (next >= text.size() || !is_cased(decode_at(text, next).value));
}

void append_upper(std::string& out, char32_t c) {
  if (const auto special = upper_special(c); !special.empty()) return append_special(out, special);
  text::append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (const auto special = title_special(c); !special.empty()) return append_special(out, special);
  text::append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

void append_lower(std::string& out, char32_t c, std::string_view text, std::size_t at, bool after_letter) {
  if (c == 0x130) return append_special(out, U"i\u0307");
  if (c == 0x3A3 && final_sigma(text, at, after_letter)) return text::append_utf8(out, 0x3C2);
  text::append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

// Calls `f(code point, offset, whether a cased character stands before it)` for every character; invalid bytes are
// copied to `out`.
template <class F>
void each(std::string_view text, std::string& out, F f) {
  bool after_letter = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (c.bytes == 1 && c.value >= 0x80) {
      out += text[at];
      after_letter = false;
    } else {
      f(c.value, at, after_letter);
      after_letter = is_cased(c.value);
    }
    at += c.bytes;
  }
}

}  // namespace

CodePoint decode_at(std::string_view text, std::size_t at) {
  const text::Utf8Char c = text::decode_utf8(text, at);
  if (!c.valid) return {static_cast<char32_t>(0xDC00 + static_cast<unsigned char>(text[at])), 1};
  return {c.code, c.length};
}

std::size_t code_point_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += decode_at(text, at).bytes) ++count;
  return count;
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += decode_at(text, at).bytes;
  return at;
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
  if (c == 0x85 || c == 0x2028 || c == 0x2029) return true;
  return category(c) == UTF8PROC_CATEGORY_ZS;
}

bool is_letter(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {
  // Superscripts and subscripts are digits without being decimals.
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

bool is_numeric(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO || is_digit(c);
}

bool is_upper(char32_t c) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0; }
bool is_lower(char32_t c) { return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0; }

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7F;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string to_upper(std::string_view text) {
  std::string out;
  each(text, out, [&](char32_t c, std::size_t, bool) { append_upper(out, c); });
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  each(text, out, [&](char32_t c, std::size_t at, bool after) { append_lower(out, c, text, at, after); });
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  each(text, out, [&](char32_t c, std::size_t at, bool after) {
    if (after) {
      append_lower(out, c, text, at, after);
    } else {
      append_title(out, c);
    }
  });
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  each(text, out, [&](char32_t c, std::size_t at, bool after) {
    if (at == 0) {
      append_title(out, c);
    } else {
      append_lower(out, c, text, at, after);
    }
  });
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  each(text, out, [&](char32_t c, std::size_t at, bool after) {
    if (is_upper(c)) {
      append_lower(out, c, text, at, after);
    } else {
      append_upper(out, c);
    }
  });
  return out;
}

std::string_view strip(std::string_view text, const std::string_view* chars, bool left, bool right) {
  std::u32string set;  // sorted, so that a long `chars` costs no more than its length
  if (chars != nullptr) {
    for (std::size_t at = 0; at < chars->size();) {
      const CodePoint c = decode_at(*chars, at);
      set += c.value;
      at += c.bytes;
    }
    std::sort(set.begin(), set.end());
  }
  const auto strips = [&](std::string_view one) {
    const char32_t c = decode_at(one, 0).value;
    return chars != nullptr ? std::binary_search(set.begin(), set.end(), c) : is_space(c);
  };
  while (left && !text.empty()) {
    const unsigned bytes = decode_at(text, 0).bytes;
    if (!strips(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && continuation(static_cast<unsigned char>(text[start]))) --start;
    if (start + decode_at(text, start).bytes != text.size()) start = text.size() - 1;
    if (!strips(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

}  // namespace lathe::jinja
