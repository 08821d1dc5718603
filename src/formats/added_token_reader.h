// The entries of "added_tokens" (tokenizer.json) and "added_tokens_decoder" (tokenizer_config.json), read into a
// tokenizer in time linear in their number, however often they name the same id or leave ids out.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "text/tokenizer_spec.h"

namespace lathe::formats {

class AddedTokenReader {
 public:
  // `spec` must outlive the reader, and only the reader may change its added tokens meanwhile.
  explicit AddedTokenReader(text::TokenizerSpec& spec);

  bool knows(std::int64_t id) const { return places_.count(id) != 0; }
  // Adds one entry {"content", "special", "lstrip", "rstrip", "normalized", "single_word"} under `id` (the next free id
  // at most a little past the end), or replaces the added token that has it.
  void add(std::int64_t id, const nlohmann::json& entry, std::string_view where);

 private:
  void make_room(std::int64_t id, std::string_view content, std::string_view where);

  text::TokenizerSpec& spec_;
  std::unordered_map<std::int64_t, std::size_t> places_;  // of each id in spec_.added
  std::int64_t holes_;                                    // ids of the vocabulary that no entry has
};

}  // namespace lathe::formats
