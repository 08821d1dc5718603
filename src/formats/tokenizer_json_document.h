// tokenizer.json in two parts: the vocabulary and the merges, which are streamed into flat lists (a document of a
// hundred thousand small nodes would be slow and large), and everything else as a JSON document.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::formats {

struct TokenizerDocument {
  std::vector<std::string> pieces;  // of model.vocab, in file order
  std::vector<std::int64_t> ids;    // of an object; an array numbers its entries
  std::vector<double> scores;       // of an array of [piece, score]; empty for an object
  bool vocab_is_array = false;
  std::vector<std::pair<std::string, std::string>> merges;  // "a b" split at its space, or ["a", "b"]
  nlohmann::json rest;                                      // the document without model.vocab and model.merges
};

// Throws Error naming `name` and the place for text that is not JSON, nests too deeply, or has a vocabulary or merges
// of another form.
TokenizerDocument parse_tokenizer_document(std::string_view text, std::string_view name);

}  // namespace lathe::formats
