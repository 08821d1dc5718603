// A GGUF file, or a set of split files, as a model.
#pragma once

#include "formats/model_file.h"

namespace lathe::formats {

// `bytes` is a whole file (its name is its path: the other files of a split model are looked for beside it).
ModelFile load_gguf(const Bytes& bytes, const LoadOptions& options);

}  // namespace lathe::formats
