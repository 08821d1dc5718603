#include "text/utf8.h"

#include <fmt/format.h>

#include <cstring>
#include <iterator>

namespace lathe::text {

Utf8Char decode_multibyte(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto continues = [&](std::size_t i) { return at + i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  const Utf8Char invalid{0xfffd, 1, false};
  if (first < 0x80) return {first, 1, true};
  if (first < 0xc2) return invalid;
  if (first < 0xe0) {
    if (!continues(1)) return invalid;
    return {(first & 0x1fu) << 6 | (byte(1) & 0x3fu), 2, true};
  }
  if (first < 0xf0) {
    if (!continues(1) || !continues(2)) return invalid;
    const char32_t code = (first & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    if (code < 0x800 || (code >= 0xd800 && code < 0xe000)) return invalid;
    return {code, 3, true};
  }
  if (first < 0xf5) {
    if (!continues(1) || !continues(2) || !continues(3)) return invalid;
    const char32_t code = (first & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
    if (code < 0x10000 || code > 0x10ffff) return invalid;
    return {code, 4, true};
  }
  return invalid;
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (text.size() - at >= 8) {
      std::uint64_t word;
      std::memcpy(&word, text.data() + at, 8);
      if ((word & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) return at;
    at += c.length;
  }
  return at;
}

std::size_t incomplete_utf8_suffix(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue;
    const std::size_t need = byte >= 0xf0 && byte < 0xf5   ? 4
                             : byte >= 0xe0 && byte < 0xf0 ? 3
                             : byte >= 0xc2 && byte < 0xe0 ? 2
                                                           : 1;
    if (need <= back) return 0;
    if (back >= 2) {  // the second byte already rules out overlong forms, surrogates and values past U+10FFFF
      const auto second = static_cast<unsigned char>(text[text.size() - back + 1]);
      if ((byte == 0xe0 && second < 0xa0) || (byte == 0xed && second > 0x9f) || (byte == 0xf0 && second < 0x90) ||
          (byte == 0xf4 && second > 0x8f)) {
        return 0;
      }
    }
    return back;
  }
  return 0;
}

std::size_t count_chars(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    if (valid == text.size()) break;
    append_utf8(out, 0xfffd);
    text.remove_prefix(valid + 1);
  }
  return out;
}

std::string quoted(std::string_view text, std::size_t limit) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    if (at >= limit) {
      out += "...";
      break;
    }
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid || c.code < 0x20 || c.code == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(text[at]));
    } else {
      out.append(text.substr(at, c.length));
    }
    at += c.length;
  }
  return out + "\"";
}

}  // namespace lathe::text
