// CTranslate2's binary models (model.bin, format version 2) of the specification TransformerBase, as converted from
// OpenNMT, with the two word lists beside them: source_vocabulary.txt and target_vocabulary.txt.
// docs/formats/ctranslate2.md describes the layout.
#pragma once

#include <filesystem>

#include "formats/model_file.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

bool is_ctranslate2(const Bytes& bytes);

// Without a tokenizer. 16-bit and 8-bit integers with a scale become F32. Throws an Error naming file and variable.
ModelFile read_ctranslate2(const Bytes& bytes);

// The two word lists beside a model whose tables have so many rows; nullopt when neither is there.
std::optional<text::TokenizerSpec> tokenizer_beside_ctranslate2(const std::filesystem::path& model,
                                                                const arch::Architecture& architecture);

// A list of words, one a line, for a table of `rows` rows: the last stands for unknown words when the list lacks it.
text::TokenizerSpec parse_word_list(const Bytes& file, std::uint32_t rows);

}  // namespace lathe::formats
