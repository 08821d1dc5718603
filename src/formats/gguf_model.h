// A GGUF file, or a set of split files, as a model.
#pragma once

#include <span>

#include "arch/codec_mix.h"
#include "formats/model_file.h"
#include "formats/tensor_source.h"

namespace lathe::formats {

// `bytes` is a whole file (its name is its path: the other files of a split model are looked for beside it).
ModelFile load_gguf(const Bytes& bytes, const LoadOptions& options);

// Sets general.file_type to a mix's, or to what most weights of `tensors` are.
void set_file_type(const arch::CodecMix& mix, Metadata& metadata);
void set_file_type(std::span<const TensorSource> tensors, Metadata& metadata);

// Keys of a model that came from GGUF are kept; architecture and, where the model brought another, tokenizer are set.
SaveResult save_gguf(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options);

}  // namespace lathe::formats
