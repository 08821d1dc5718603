// SentencePiece model files (tokenizer.model): a protocol-buffers message ModelProto with the pieces, the trainer's
// settings and the normalizer's character map (google/sentencepiece, sentencepiece_model.proto).
#pragma once

#include "base/checked.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Unigram, BPE, word and character models. BPE models with a <s> get it put before every text, as the models that use
// such files expect; tokenizer_config.json can say otherwise.
text::TokenizerSpec parse_sentencepiece(const Bytes& file);

}  // namespace lathe::formats
