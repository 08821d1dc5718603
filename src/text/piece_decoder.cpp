#include "text/piece_decoder.h"

#include <string_view>

#include "text/byte_level.h"

namespace lathe::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out(text, 0, at);
  while (at != std::string::npos) {
    out += to;
    const std::size_t next = text.find(from, at + from.size());
    out.append(text, at + from.size(), next == std::string::npos ? next : next - at - from.size());
    at = next;
  }
  text = std::move(out);
}

// English punctuation and contractions lose the space that WordPiece decoding puts before every word.
void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

}  // namespace

PieceDecoder::PieceDecoder(const TokenizerSpec& spec) : spec_(spec), literal_(spec.size()), fences_(spec.size()) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    literal_[id] = spec.kinds[id] == TokenKind::kControl || spec.kinds[id] == TokenKind::kUnknown;
    fences_[id] = spec.kinds[id] == TokenKind::kControl;
  }
  for (const AddedToken& token : spec.added) {
    const auto id = static_cast<std::size_t>(token.id);
    fences_[id] = fences_[id] || !token.normalized;
    literal_[id] = literal_[id] || !token.normalized || spec.decoder.byte_level;
  }
}

bool PieceDecoder::starts_text(TokenId previous) const {
  return previous == kNoToken || fences_[static_cast<std::size_t>(previous)];
}

bool PieceDecoder::ends_word(TokenId id) const {
  const std::string& piece = spec_.pieces[static_cast<std::size_t>(id)];
  const std::string& suffix = spec_.decoder.suffix;
  return !suffix.empty() && !literal_[static_cast<std::size_t>(id)] && piece.size() > suffix.size() &&
         piece.compare(piece.size() - suffix.size(), suffix.size(), suffix) == 0;
}

std::string PieceDecoder::inner_bytes(TokenId id) const {
  const auto i = static_cast<std::size_t>(id);
  const std::string& piece = spec_.pieces[i];
  const DecoderSpec& decoder = spec_.decoder;
  if (literal_[i]) return piece;
  if (decoder.byte_fallback || spec_.kinds[i] == TokenKind::kByte) {
    const int byte = byte_token_value(piece);
    if (byte >= 0) return std::string(1, static_cast<char>(byte));
  }
  if (decoder.byte_level) {
    if (auto bytes = bytes_from_alphabet(piece)) return *std::move(bytes);
    return piece;
  }
  std::string text = piece;
  replace_all(text, decoder.space, " ");
  if (ends_word(id)) text.resize(text.size() - decoder.suffix.size());
  return text;
}

void PieceDecoder::append_joined(TokenId id, bool first, std::string& out) const {
  const DecoderSpec& decoder = spec_.decoder;
  std::string text = inner_bytes(id);
  if (decoder.wordpiece) {
    const std::string& prefix = decoder.prefix;
    const bool continues =
        !prefix.empty() && text.size() > prefix.size() && text.compare(0, prefix.size(), prefix) == 0;
    if (continues && !first) {
      text.erase(0, prefix.size());
    } else if (!first) {
      text.insert(0, 1, ' ');
    }
    if (decoder.cleanup) clean_up(text);
  } else if (decoder.join_with_spaces && !first) {
    text.insert(0, 1, ' ');
  }
  out += text;
}

void PieceDecoder::append_inside(TokenId id, std::string& out) const { append_joined(id, false, out); }

bool PieceDecoder::append(TokenId previous, TokenId id, const DecodeOptions& options, std::string& out) const {
  const TokenKind kind = spec_.kinds[static_cast<std::size_t>(id)];
  if (options.skip_special && (kind == TokenKind::kControl || kind == TokenKind::kUnknown)) return false;
  const bool first = previous == kNoToken;
  if (!first && ends_word(previous)) out += ' ';
  const std::size_t start = out.size();
  append_joined(id, first, out);
  if (literal_[static_cast<std::size_t>(id)] || out.size() == start || out[start] != ' ') return true;
  const PrependScheme strip = spec_.decoder.strip_space;
  if (strip == PrependScheme::kAlways ? starts_text(previous) : strip == PrependScheme::kFirst && first)
    out.erase(start, 1);
  return true;
}

}  // namespace lathe::text
