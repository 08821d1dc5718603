// A tokenizer as plain data: the vocabulary and every rule that turns text into ids and back. Readers in formats/ fill
// one from a file, make_tokenizer() gives it behaviour, and writers turn it into another file format.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::text {

enum class ModelType : std::uint8_t {
  kBpe,        // byte-pair encoding, merges ordered by rank (Sennrich et al. 2016; GPT-2; tiktoken)
  kSpm,        // SentencePiece BPE: the adjacent pair whose concatenation has the best score merges first
  kUnigram,    // SentencePiece unigram: the segmentation of highest total score (Kudo 2018)
  kWordPiece,  // greedy longest match from the left inside each word (BERT)
  kWordLevel,  // one id per word
  kTrie,       // greedy longest match over the whole text (RWKV World)
};

// left + right -> result, all ids of the vocabulary. The position in the list is the rank.
struct Merge {
  TokenId left, right, result;
  bool operator==(const Merge&) const = default;
};

// A vocabulary entry that is found in the text before anything else looks at it.
struct AddedToken {
  TokenId id = kNoToken;
  bool special = true;       // a control token: matched only when the caller lets text spell control tokens
  bool lstrip = false;       // swallows white space to its left
  bool rstrip = false;       // ... to its right
  bool single_word = false;  // only where no letter, digit or underscore touches it
  bool normalized = false;   // looked for in the normalized text instead of the raw text
  bool operator==(const AddedToken&) const = default;
};

enum class PrependScheme : std::uint8_t { kNever, kFirst, kAlways };

struct NormalizerStep {
  enum class Type : std::uint8_t {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripAccents,    // drops nonspacing marks
    kReplace,         // `pattern` (literal, or a regular expression when `regex`) by `content`
    kPrepend,         // `content` before a text that is not empty
    kStrip,           // white space at the `left` and `right` end
    kCollapseSpaces,  // SentencePiece remove_extra_whitespaces: no space at the ends, none doubled
    kPrecompiled,     // SentencePiece charsmap, its bytes in `content`
    kBert,            // BERT's cleaning as the four flags say
    kByteLevel,       // bytes spelled as the characters of GPT-2's byte alphabet
  };
  Type type = Type::kNfc;
  std::string pattern, content;
  bool regex = false;
  bool left = true, right = true;
  bool by_grapheme = false;  // kPrecompiled as the Hugging Face library applies it (Charsmap::apply_by_grapheme)
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
  bool operator==(const NormalizerStep&) const = default;
};

struct PreTokenizerStep {
  enum class Type : std::uint8_t {
    kSplit,            // by `pattern`
    kByteLevel,        // GPT-2: its regular expression when use_regex; words are bytes from here on
    kMetaspace,        // spaces become `replacement`, words start at it when `split`
    kDigits,           // runs of digits, or single ones when `individual`
    kPunctuation,      // by `behavior`
    kWhitespace,       // \w+|[^\w\s]+
    kWhitespaceSplit,  // at white space, which is removed
    kBert,             // white space removed, punctuation alone
    kFixedLength,      // `length` characters each
  };
  enum class Behavior : std::uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  Type type = Type::kSplit;
  std::string pattern;
  bool regex = true;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;
  bool individual = false;
  bool add_prefix_space = false, use_regex = true;
  bool to_alphabet = false;  // kByteLevel: later steps and the model see GPT-2's byte alphabet instead of the bytes
  std::string replacement = "\u2581";
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
  std::uint32_t length = 5;
  bool operator==(const PreTokenizerStep&) const = default;
};

struct DecoderSpec {
  bool byte_level = false;     // pieces are spelled in GPT-2's byte alphabet
  bool byte_fallback = false;  // "<0x41>" stands for a byte
  std::string space;           // what stands for a space inside a piece ("▁"); empty for nothing
  // One leading space is dropped from the text (kFirst), or from each text between control tokens (kAlways).
  PrependScheme strip_space = PrependScheme::kNever;
  bool wordpiece = false;  // pieces stand apart unless they start with `prefix`
  std::string prefix = "##";
  bool cleanup = false;  // no space before English punctuation and contractions
  std::string suffix;    // a piece that ends so ends a word ("</w>")
  bool join_with_spaces = false;
  bool operator==(const DecoderSpec&) const = default;
};

struct TokenizerSpec {
  std::string name;  // the file it came from, for messages

  ModelType type = ModelType::kBpe;
  std::vector<std::string> pieces;     // by id, unique
  std::vector<float> scores;           // by id, or empty
  std::vector<TokenKind> kinds;        // by id
  std::vector<Merge> merges;           // kBpe with merge_by_rank false
  bool merge_by_rank = false;          // kBpe: any two neighbours that spell a piece merge, lowest id first (tiktoken)
  bool ignore_merges = false;          // kBpe: a word that is a piece is that piece, whatever the merges say
  bool byte_level = false;             // pieces spell bytes in GPT-2's alphabet; the model works on bytes
  bool byte_fallback = false;          // characters outside the vocabulary become their "<0xNN>" tokens
  bool fuse_unknown = true;            // neighbouring unknown tokens become one
  std::string continuing_prefix;       // kWordPiece "##"; kBpe: before every piece that does not start a word
  std::string word_suffix;             // kBpe: "</w>" after every piece that ends a word
  std::uint32_t max_word_chars = 100;  // kWordPiece: longer words are unknown

  std::vector<AddedToken> added;
  bool normalize_added = false;  // added tokens with `normalized` are themselves normalized before they are looked for
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::string pre_name;  // the GGUF name of the pre-tokenizer where it has one
  DecoderSpec decoder;

  SpecialTokens special;
  std::vector<TokenId> prefix, suffix;  // what add_special puts around the text

  std::shared_ptr<const TokenizerSpec> target;  // of what the model writes, where it has other words (translators)

  std::size_t size() const { return pieces.size(); }
};

// Throws Error (naming spec.name and the fault) when the parts do not fit together.
void validate(const TokenizerSpec& spec);

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec);

// The merges that make byte-pair encoding by rank, as a list for formats that have only lists: every way to write a
// piece as two pieces, in order of the result's id.
std::vector<Merge> merges_from_ranks(const TokenizerSpec& spec);

// Appends to end_of_generation those of `ids` that it does not list yet, in their order.
void add_end_of_generation(TokenizerSpec& spec, std::span<const TokenId> ids);

// end_of_generation from the pieces that models use to end a turn ("<|im_end|>", "<|eot_id|>", ...), with eos; entries
// found become control tokens.
void find_end_of_generation(TokenizerSpec& spec);

}  // namespace lathe::text
