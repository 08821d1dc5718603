// The text side of a Hugging Face folder: tokenizer, chat template, generation_config.json.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "formats/model_file.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Sampling suggestions of generation_config.json; silent where the file is absent or samples greedily.
GenerationDefaults hf_generation(const std::filesystem::path& folder);

// chat_template.jinja, chat_template.json, or "chat_template" of tokenizer_config.json (of several named ones, the one
// called "default"). Empty when there is none.
std::string hf_chat_template(const std::filesystem::path& folder);

// The folder's tokenizer with the special tokens that tokenizer_config.json, generation_config.json and config.json
// name.
std::optional<text::TokenizerSpec> hf_tokenizer(const std::filesystem::path& folder, const Json& config,
                                                std::uint32_t vocab_size);

// `config` with bos_token_id, eos_token_id and pad_token_id.
Json hf_config_with_tokens(const ModelFile& model, Json config);

// Writes tokenizer files, chat_template.jinja and generation_config.json. The files of a model that came from a Hugging
// Face folder with its own tokenizer are copied as they are.
void write_hf_text(const ModelFile& model, const std::filesystem::path& folder);

// The tokenizer inside the metadata of a single safetensors file.
void add_tokenizer_metadata(const ModelFile& model, std::map<std::string, std::string>& metadata);
std::optional<text::TokenizerSpec> tokenizer_in_metadata(const std::map<std::string, std::string>& metadata,
                                                         const std::string& where);

}  // namespace lathe::formats
