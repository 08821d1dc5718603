// What a PrefixRouter knows as a file, from one run of a server to the next (docs/formats/prefix-store.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "serve/prefix_router.h"

namespace lathe::serve {

// Writes beside `path` and renames into place; readable by its owner only. Throws Error naming the file.
void save_router_memory(const std::filesystem::path& path, std::span<const PrefixRouter::Remembered> memory);
// In the order it was saved. Throws Error naming the file when it is damaged or of another version.
std::vector<PrefixRouter::Remembered> load_router_memory(const std::filesystem::path& path);

}  // namespace lathe::serve
