// Models in Hugging Face layout: a folder with config.json, safetensors (single or sharded), tokenizer and generation
// settings; or one safetensors file that has its config.json beside it or inside its metadata.
#pragma once

#include <filesystem>

#include "formats/model_file.h"

namespace lathe::formats {

ModelFile load_hf_folder(const std::filesystem::path& folder, const LoadOptions& options);
ModelFile load_safetensors(const Bytes& bytes, const LoadOptions& options);

// A folder as above, replaced as a whole.
SaveResult save_hf_folder(const ModelFile& model, const std::filesystem::path& folder, const SaveOptions& options);
// One file under Hugging Face names, with config.json, tokenizer.json and chat template in its metadata so that the
// file alone is the model.
SaveResult save_safetensors(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options);

}  // namespace lathe::formats
