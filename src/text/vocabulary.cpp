#include "text/vocabulary.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/model.h"

namespace lathe::text {

std::array<TokenId, 256> byte_token_ids(const TokenizerSpec& spec) {
  std::array<TokenId, 256> ids;
  ids.fill(kNoToken);
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const int byte = byte_token_value(spec.pieces[id]);
    if (byte < 0 || spec.kinds[id] == TokenKind::kControl) continue;
    TokenId& slot = ids[static_cast<std::size_t>(byte)];
    if (slot == kNoToken || spec.kinds[id] == TokenKind::kByte) slot = static_cast<TokenId>(id);
  }
  return ids;
}

UnknownWriter::UnknownWriter(const TokenizerSpec& spec)
    : byte_tokens_(byte_token_ids(spec)),
      unknown_(spec.special.unknown),
      byte_fallback_(spec.byte_fallback),
      fuse_(spec.fuse_unknown) {}

void UnknownWriter::write(std::string_view bytes, std::size_t start, std::vector<TokenId>& out) const {
  if (byte_fallback_) {
    const bool all = std::all_of(bytes.begin(), bytes.end(),
                                 [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)] != kNoToken; });
    if (all) {
      for (const char c : bytes) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      return;
    }
  }
  if (unknown_ == kNoToken) return;
  if (fuse_ && out.size() > start && out.back() == unknown_) return;
  out.push_back(unknown_);
}

SpaceCutter::SpaceCutter(const TokenizerSpec& spec) {
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (!is_plain(spec.kinds[id])) continue;
    const std::string_view piece = spec.pieces[id];
    for (std::size_t at = piece.find(kSpaceMark, 1); at != std::string_view::npos;
         at = piece.find(kSpaceMark, at + 1)) {
      if (at >= kSpaceMark.size() && piece.substr(at - kSpaceMark.size(), kSpaceMark.size()) == kSpaceMark) continue;
      joins_[static_cast<unsigned char>(piece[at - 1])] = true;
    }
  }
}

std::size_t SpaceCutter::first_part(std::string_view text) const {
  std::size_t at = 0;
  while (text.substr(at, kSpaceMark.size()) == kSpaceMark)
    at += kSpaceMark.size();  // a leading run stays with its word
  for (;;) {
    at = text.find(kSpaceMark[0], at);
    if (at == std::string_view::npos) return text.size();
    if (at > 0 && text.substr(at, kSpaceMark.size()) == kSpaceMark) {
      const bool after_mark =
          at >= kSpaceMark.size() && text.substr(at - kSpaceMark.size(), kSpaceMark.size()) == kSpaceMark;
      if (!after_mark && !joins_[static_cast<unsigned char>(text[at - 1])]) return at;
    }
    ++at;
  }
}

}  // namespace lathe::text
