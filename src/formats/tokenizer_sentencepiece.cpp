#include "formats/tokenizer_sentencepiece.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/tokenizer_merges.h"
#include "text/vocabulary.h"

namespace lathe::formats {
namespace {

using text::NormalizerStep;
using text::TokenId;
using text::TokenizerSpec;
using text::TokenKind;

// One field of a message in the protocol-buffers wire format.
struct ProtoField {
  std::uint32_t number = 0;
  enum Type { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 } type = kVarint;
  std::uint64_t value = 0;  // of a varint or fixed field
  std::string_view bytes;   // of a length-delimited field
};

class MessageReader {
 public:
  MessageReader(std::string_view message, const std::string& file) : rest_(message), file_(file) {}

  bool next(ProtoField& field) {
    if (rest_.empty()) return false;
    const std::uint64_t key = varint();
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) fail(file_, "not a SentencePiece model (field number {})", key >> 3);
    field.number = static_cast<std::uint32_t>(key >> 3);
    field.bytes = {};
    switch (key & 7) {
      case ProtoField::kVarint:
        field.type = ProtoField::kVarint;
        field.value = varint();
        return true;
      case ProtoField::kFixed64:
        field.type = ProtoField::kFixed64;
        field.value = fixed(8);
        return true;
      case ProtoField::kFixed32:
        field.type = ProtoField::kFixed32;
        field.value = fixed(4);
        return true;
      case ProtoField::kBytes: {
        field.type = ProtoField::kBytes;
        const std::uint64_t size = varint();
        if (size > rest_.size())
          fail(file_, "the SentencePiece model is cut off: a field of {} bytes, {} left", size, rest_.size());
        field.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return true;
      }
      default:
        fail(file_, "not a SentencePiece model (wire type {})", key & 7);
    }
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) fail(file_, "the SentencePiece model is cut off inside a number");
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail(file_, "the SentencePiece model has a number of more than 64 bits");
  }
  std::uint64_t fixed(std::size_t size) {
    if (rest_.size() < size) fail(file_, "the SentencePiece model is cut off inside a number");
    std::uint64_t value = 0;
    std::memcpy(&value, rest_.data(), size);
    rest_.remove_prefix(size);
    return value;
  }
  std::string_view rest_;
  const std::string& file_;
};

struct Settings {
  enum Model { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  std::uint64_t model = kUnigram;
  bool byte_fallback = false, space_as_suffix = false;
  std::int32_t unknown = 0, bos = 1, eos = 2, pad = -1;
  bool add_dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  std::string_view charsmap;
};

void read_piece(std::string_view message, TokenizerSpec& spec) {
  std::string_view piece;
  float score = 0;
  std::uint64_t kind = 1;
  MessageReader reader(message, spec.name);
  for (ProtoField f; reader.next(f);) {
    if (f.number == 1 && f.type == ProtoField::kBytes) piece = f.bytes;
    if (f.number == 2 && f.type == ProtoField::kFixed32)
      score = std::bit_cast<float>(static_cast<std::uint32_t>(f.value));
    if (f.number == 3 && f.type == ProtoField::kVarint) kind = f.value;
  }
  if (kind < 1 || kind > 6) fail(spec.name, "piece {} has the unknown type {}", spec.size(), kind);
  spec.pieces.emplace_back(piece);
  spec.scores.push_back(score);
  spec.kinds.push_back(static_cast<TokenKind>(kind));
}

void read_trainer(std::string_view message, const std::string& file, Settings& settings) {
  MessageReader reader(message, file);
  for (ProtoField f; reader.next(f);) {
    if (f.type != ProtoField::kVarint) continue;
    const auto id = static_cast<std::int32_t>(static_cast<std::uint32_t>(f.value));
    switch (f.number) {
      case 3:
        settings.model = f.value;
        break;
      case 24:
        settings.space_as_suffix = f.value != 0;
        break;
      case 35:
        settings.byte_fallback = f.value != 0;
        break;
      case 40:
        settings.unknown = id;
        break;
      case 41:
        settings.bos = id;
        break;
      case 42:
        settings.eos = id;
        break;
      case 43:
        settings.pad = id;
        break;
      default:
        break;
    }
  }
}

void read_normalizer(std::string_view message, const std::string& file, Settings& settings) {
  MessageReader reader(message, file);
  for (ProtoField f; reader.next(f);) {
    if (f.number == 2 && f.type == ProtoField::kBytes) settings.charsmap = f.bytes;
    if (f.type != ProtoField::kVarint) continue;
    if (f.number == 3) settings.add_dummy_prefix = f.value != 0;
    if (f.number == 4) settings.remove_extra_spaces = f.value != 0;
    if (f.number == 5) settings.escape_spaces = f.value != 0;
  }
}

void set_roles(const Settings& settings, TokenizerSpec& spec) {
  const auto inside = [&](std::int32_t id) {
    return id >= 0 && static_cast<std::size_t>(id) < spec.size() ? id : text::kNoToken;
  };
  const auto role = [&](std::int32_t id, TokenKind kind) {
    const TokenId in = inside(id);
    return in != text::kNoToken && spec.kinds[static_cast<std::size_t>(in)] == kind ? in : text::kNoToken;
  };
  auto& special = spec.special;
  special.unknown = role(settings.unknown, TokenKind::kUnknown);
  for (std::size_t id = 0; id < spec.size() && special.unknown == text::kNoToken; ++id) {
    if (spec.kinds[id] == TokenKind::kUnknown) special.unknown = static_cast<TokenId>(id);
  }
  special.bos = role(settings.bos, TokenKind::kControl);
  special.eos = role(settings.eos, TokenKind::kControl);
  special.pad = role(settings.pad, TokenKind::kControl);
}

void set_normalizer(const Settings& settings, TokenizerSpec& spec) {
  using Type = NormalizerStep::Type;
  if (!settings.charsmap.empty())
    spec.normalizer.push_back({.type = Type::kPrecompiled, .content = std::string(settings.charsmap)});
  if (settings.remove_extra_spaces) spec.normalizer.push_back({.type = Type::kCollapseSpaces});
  const std::string mark(settings.escape_spaces ? text::kSpaceMark : " ");
  if (settings.escape_spaces) spec.normalizer.push_back({.type = Type::kReplace, .pattern = " ", .content = mark});
  if (settings.add_dummy_prefix) {
    spec.normalizer.push_back({.type = Type::kPrepend, .content = mark});
    spec.decoder.strip_space = text::PrependScheme::kAlways;
  }
  if (settings.escape_spaces) spec.decoder.space = text::kSpaceMark;
  spec.decoder.byte_fallback = spec.byte_fallback;
}

}  // namespace

TokenizerSpec parse_sentencepiece(const Bytes& file) {
  TokenizerSpec spec;
  spec.name = file.name();
  Settings settings;
  MessageReader reader(file.text(), spec.name);
  for (ProtoField f; reader.next(f);) {
    if (f.type != ProtoField::kBytes) continue;
    if (f.number == 1) read_piece(f.bytes, spec);
    if (f.number == 2) read_trainer(f.bytes, spec.name, settings);
    if (f.number == 3) read_normalizer(f.bytes, spec.name, settings);
  }
  if (spec.size() == 0) fail(spec.name, "not a SentencePiece model: it has no pieces");
  if (settings.space_as_suffix)
    fail(spec.name, "SentencePiece models that mark spaces at the end of words are not supported");
  switch (settings.model) {
    case Settings::kUnigram:
      spec.type = text::ModelType::kUnigram;
      break;
    case Settings::kBpe:
    case Settings::kChar:
      spec.type = text::ModelType::kSpm;
      break;
    case Settings::kWord:
      spec.type = text::ModelType::kWordLevel;
      spec.pre_tokenizer.push_back({.type = text::PreTokenizerStep::Type::kSplit,
                                    .pattern = std::string(text::kSpaceMark),
                                    .regex = false,
                                    .behavior = text::PreTokenizerStep::Behavior::kMergedWithNext});
      break;
    default:
      fail(spec.name, "unknown SentencePiece model type {}", settings.model);
  }
  spec.byte_fallback = settings.byte_fallback;
  set_roles(settings, spec);
  set_normalizer(settings, spec);
  if (spec.type == text::ModelType::kSpm && spec.special.bos != text::kNoToken) {
    spec.special.add_bos = true;
    spec.prefix = {spec.special.bos};
  }
  for (std::size_t id = 0; id < spec.size(); ++id) {
    if (spec.pieces[id].empty()) continue;
    const auto token = static_cast<TokenId>(id);
    if (spec.kinds[id] == TokenKind::kControl || spec.kinds[id] == TokenKind::kUnknown)
      spec.added.push_back({.id = token});
    if (spec.kinds[id] == TokenKind::kUserDefined)
      spec.added.push_back({.id = token, .special = false, .normalized = true});
  }
  check_unique_pieces(spec);
  text::find_end_of_generation(spec);
  return spec;
}

}  // namespace lathe::formats
