// The parts of a tokenizer.json other than its model: normalizer, pre-tokenizer, post-processor and decoder.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Each reads one part into `spec` (null parts too); an unknown type is an Error naming `where` and the type. They are
// read in this order: the decoder looks at the normalizer.
void read_normalizer_part(const nlohmann::json& part, std::string_view where, text::TokenizerSpec& spec);
void read_pre_tokenizer_part(const nlohmann::json& part, std::string_view where, text::TokenizerSpec& spec);
void read_post_processor_part(const nlohmann::json& part, std::string_view where, text::TokenizerSpec& spec);
void read_decoder_part(const nlohmann::json& part, std::string_view where, text::TokenizerSpec& spec);

// object[key]; null when it is absent, or `object` no object.
const nlohmann::json& member(const nlohmann::json& object, const char* key);
// object[key], or `otherwise` when it is absent or null; an Error when it has another type.
template <class T>
T value_or(const nlohmann::json& object, const char* key, T otherwise, std::string_view where);

}  // namespace lathe::formats
