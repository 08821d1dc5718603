#include "text/byte_level.h"

#include <fmt/core.h>

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace lathe::text {
namespace {

struct Alphabet {
  std::array<char32_t, 256> of_byte{};
  std::array<std::int16_t, 0x144> byte_of{};
  std::array<std::string, 256> spelled;

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
      const auto at = static_cast<std::size_t>(byte);
      of_byte[at] = code;
      byte_of[code] = static_cast<std::int16_t>(byte);
      append_utf8(spelled[at], code);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

void append_alphabet(std::string& out, unsigned char byte) { out += alphabet().spelled[byte]; }

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 3 / 2);
  for (const char byte : bytes) append_alphabet(out, static_cast<unsigned char>(byte));
  return out;
}

std::optional<std::string> bytes_from_alphabet(std::string_view piece) {
  const auto& byte_of = alphabet().byte_of;
  std::string out;
  out.reserve(piece.size());
  for (std::size_t at = 0; at < piece.size();) {
    const Utf8Char c = decode_utf8(piece, at);
    if (!c.valid || c.code >= byte_of.size() || byte_of[c.code] < 0) return std::nullopt;
    out += static_cast<char>(byte_of[c.code]);
    at += c.length;
  }
  return out;
}

int byte_token_value(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = hex_digit(piece[3]), low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string byte_token(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace lathe::text
