// .lathe: Lathe's own container, a safetensors file whose metadata says everything else about the model. It holds every
// codec and every model exactly. docs/formats/lathe.md is its definition.
#pragma once

#include "formats/model_file.h"

namespace lathe::formats {

// Whether a safetensors file is a .lathe file.
bool is_lathe(const Bytes& bytes);

ModelFile load_lathe(const Bytes& bytes, const LoadOptions& options);
SaveResult save_lathe(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options);

}  // namespace lathe::formats
