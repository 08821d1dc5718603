// Text to token ids and back. One interface over every tokenizer family; formats/ builds one from a file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::text {

using TokenId = std::int32_t;
inline constexpr TokenId kNoToken = -1;

// What a vocabulary entry is, as GGUF's tokenizer.ggml.token_type and SentencePiece number them.
enum class TokenKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct EncodeOptions {
  bool add_special = true;    // BOS/EOS or [CLS]/[SEP] as the tokenizer is configured
  bool parse_special = true;  // text that spells a control token ("<|im_end|>") becomes that token
};

struct DecodeOptions {
  bool skip_special = false;  // leave control tokens out; otherwise their text is written
};

// The tokens with a role. kNoToken where the vocabulary has none.
struct SpecialTokens {
  TokenId bos = kNoToken, eos = kNoToken, unknown = kNoToken, pad = kNoToken, sep = kNoToken, cls = kNoToken,
          mask = kNoToken;
  std::vector<TokenId> end_of_generation;  // eos and every end-of-turn token ("<|im_end|>", "<|eot_id|>", ...)
  bool add_bos = false, add_eos = false;
};

struct TokenizerSpec;

// Immutable after construction; every method may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Text (any bytes; invalid UTF-8 never throws) to ids, in time linear in its length.
  virtual std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // Ids to text. decode(encode(x)) == x for tokenizers that do not normalise. Throws Error for an id outside the
  // vocabulary.
  virtual std::string decode(std::span<const TokenId> ids, const DecodeOptions& options = {}) const = 0;

  // The bytes one token adds when it follows others: what a stream writes ("▁cat" is " cat", "<0x0A>" is "\n").
  virtual std::string token_bytes(TokenId id) const = 0;

  // Appends what `id` adds to a text whose last token is `previous` (kNoToken at its start). False when options leave
  // the token out; it is then not the previous one of the next. decode() is these appends in turn, so that a stream
  // that remembers its last token writes exactly what decode() would.
  virtual bool append_bytes(TokenId previous, TokenId id, const DecodeOptions& options, std::string& out) const = 0;

  // The entry as the vocabulary spells it ("▁cat", "Ġcat", "##ing", "<0x0A>").
  virtual std::string_view piece(TokenId id) const = 0;
  virtual TokenKind kind(TokenId id) const = 0;
  virtual float score(TokenId id) const = 0;
  // The id whose piece is exactly `piece`, or kNoToken.
  virtual TokenId find(std::string_view piece) const = 0;
  virtual std::size_t size() const = 0;
  virtual const SpecialTokens& special() const = 0;
  // "bpe", "spm", "unigram", "wordpiece", ...
  virtual std::string_view family() const = 0;
  // Of what the model writes, where that has other words than what it reads (a translator's two vocabularies).
  virtual const Tokenizer& target() const { return *this; }
  // Everything about this tokenizer as data, for writing it to a file (text/tokenizer_spec.h).
  virtual const TokenizerSpec& spec() const = 0;
};

}  // namespace lathe::text
