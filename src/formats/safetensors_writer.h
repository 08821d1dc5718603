// Writes safetensors files: single, or sharded with an index.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/model_file.h"

namespace lathe::formats {

// One array to be written; `write` must append exactly the bytes that dtype and shape need.
struct SafetensorsItem {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::function<void(AtomicFile&)> write;
  std::uint64_t alignment = 0;  // of its first byte; 0: the dtype's size

  std::uint64_t bytes() const;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// Writes a whole file. The data section starts at a multiple of 64 bytes, and items lie in order of falling alignment
// (otherwise as given), so that each is aligned without gaps, which the format forbids.
SaveResult write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsItem> items,
                             const SafetensorsMetadata& metadata);

// model.safetensors, or model-0000i-of-0000n.safetensors with model.safetensors.index.json when they exceed
// `split_bytes` (0: never split).
SaveResult write_sharded_safetensors(const std::filesystem::path& folder, std::span<const SafetensorsItem> items,
                                     const SafetensorsMetadata& metadata, std::uint64_t split_bytes);

}  // namespace lathe::formats
