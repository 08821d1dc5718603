// GPT-2's byte alphabet: every byte is spelled as one printable character, so that vocabularies of bytes can be text.
// Bytes that are printable in Latin-1 stand for themselves, the others take U+0100 and up in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lathe::text {

std::string bytes_to_alphabet(std::string_view bytes);
void append_alphabet(std::string& out, unsigned char byte);

// The bytes a piece spells, or nullopt when it has a character outside the alphabet.
std::optional<std::string> bytes_from_alphabet(std::string_view piece);

// "<0x41>" as its byte, or -1.
int byte_token_value(std::string_view piece);
std::string byte_token(unsigned char byte);

}  // namespace lathe::text
