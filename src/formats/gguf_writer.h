// Writes GGUF version 3: one file, or a set of split files.
#pragma once

#include <filesystem>
#include <span>

#include "base/file.h"
#include "formats/metadata.h"
#include "formats/tensor_source.h"

namespace lathe::formats {

// One value, or all key-values, as they lie in a file.
void append_gguf_metadata(const Metadata& metadata, std::string& out);

// Writes `tensors` under their names; metadata's general.alignment (default 32) is honoured. With `split_bytes` > 0 a
// further file starts before the one that would exceed it, and files are named <stem>-0000i-of-0000n.gguf. Every file
// is written beside its target; they are renamed into place when all are complete.
SaveResult write_gguf(const std::filesystem::path& path, const Metadata& metadata,
                      std::span<const TensorSource> tensors, std::uint64_t split_bytes = 0);

}  // namespace lathe::formats
