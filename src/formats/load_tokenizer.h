// The tokenizer of a model: from the file the user names, or else from what lies in or beside the model.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "formats/model_file.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {

using TokenizerSource = std::function<std::optional<text::TokenizerSpec>()>;

// Sets model.tokenizer and model.tokenizer_spec from options.tokenizer, or from `own` when the user names none.
void attach_tokenizer(ModelFile& model, const LoadOptions& options, const TokenizerSource& own);

// From GGUF metadata; nullopt when it holds no vocabulary.
std::optional<text::TokenizerSpec> tokenizer_from_gguf(const Metadata& metadata);

// From the one tok*.bin (or *tok.bin) beside a llama2.c checkpoint whose vocabulary has `vocab_size` entries; nullopt
// when there is none, an Error when several fit.
std::optional<text::TokenizerSpec> tokenizer_beside_llama2c(const std::filesystem::path& model,
                                                            std::uint32_t vocab_size);

// From a folder in Hugging Face layout; nullopt when it holds no tokenizer file.
std::optional<text::TokenizerSpec> tokenizer_in_folder(const std::filesystem::path& folder, std::uint32_t vocab_size);

// A tokenizer on its own: a tokenizer file of any kind, or whatever a model of any family (supported or not) has in it
// or beside it. `vocab_size` is what the model says, where one does; some files do not say it themselves.
text::TokenizerSpec read_tokenizer_spec(const std::filesystem::path& path,
                                        std::optional<std::uint64_t> vocab_size = {});
std::shared_ptr<const text::Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace lathe::formats
