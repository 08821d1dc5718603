// Which tokens have a role: what the files beside a tokenizer.json say, and what can be guessed without them.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string_view>

#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Adds one entry {"content", "special", "lstrip", "rstrip", "normalized", "single_word"} under `id` (the next free id
// at most a little past the end), or updates the entry that has it.
void add_added_token(text::TokenizerSpec& spec, std::int64_t id, const nlohmann::json& entry, std::string_view where);

// Roles from the post-processor and from the usual spellings of control tokens.
void guess_roles(text::TokenizerSpec& spec);

}  // namespace lathe::formats
