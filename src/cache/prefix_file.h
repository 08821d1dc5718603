// The blocks of a prefix tree as a file, so that they outlive the process (docs/formats/prefix-store.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/checked.h"
#include "cache/prefix_tree.h"

namespace lathe::cache {

// What must be equal, beside the layout that the tree's pool has, for a block of a file to be what would be computed.
struct PrefixOrigin {
  std::uint64_t model = 0;  // the fingerprint of its files
  std::string computation;  // everything else that decides the bits, for people to read
};

// Writes the tree's most recently used blocks as a file of at most `most_bytes` bytes, which replaces an older one in
// one step and which only its owner may read: it tells the tokens of prompts. Returns the blocks written; when that is
// none, the file is left as it was. Throws Error naming the file when it cannot be written; the older one is whole
// then.
std::uint64_t save_prefixes(const std::filesystem::path& path, const PrefixTree& tree, const PrefixOrigin& origin,
                            std::uint64_t most_bytes);

// Fills an empty tree with the blocks of a file, the most recently used ones as far as the pool has free blocks.
// Returns the blocks restored. Throws Error naming the file, with the tree as it was, for a file of another origin or
// layout and for a damaged one.
std::uint64_t load_prefixes(const Bytes& file, PrefixTree& tree, const PrefixOrigin& origin);

}  // namespace lathe::cache
