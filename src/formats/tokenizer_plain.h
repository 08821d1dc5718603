// Vocabularies as bare files: GPT-2's pair (encoder.json or vocab.json, vocab.bpe or merges.txt), BERT's vocab.txt, and
// a JSON map of words to ids.
#pragma once

#include "base/checked.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// `vocabulary` maps pieces in GPT-2's byte alphabet to ids, `merges` has one "left right" a line after an optional
// "#version" line. Words are cut as GPT-2 cuts them.
text::TokenizerSpec parse_gpt2_vocabulary(const Bytes& vocabulary, const Bytes& merges);

// One piece a line, the line number its id. Cased vocabularies are told by having capital letters.
text::TokenizerSpec parse_bert_vocabulary(const Bytes& file);

// {"word": id, ...}, or the same under "token2id". When every entry outside <...> is one character, texts are read
// character by character; otherwise words are separated by spaces.
text::TokenizerSpec parse_word_map(const Bytes& file);

}  // namespace lathe::formats
