// The body of the fuzz target that reads files of prefixes: whatever loads must also be a tree that gives back its
// blocks.
#include <cstring>
#include <stdexcept>

#include "base/checked.h"
#include "base/hash.h"
#include "cache/prefix_file.h"
#include "fuzz/guarded.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"

namespace lathe::fuzz {
namespace {

constexpr kernels::KvLayout kLayout{kernels::KvCodec::kI8, 1, 1, 1, 4};  // raw_prefixes()
constexpr std::uint64_t kPoolBlocks = 4;                                 // a block less than the seed has

// The same bytes under a hash that fits the table, without which no change of it would be looked at.
std::string with_hash(std::string bytes) {
  constexpr std::size_t kSizeAt = 8, kHashAt = 16, kTableAt = 24;
  if (bytes.size() < kTableAt) return bytes;
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data() + kSizeAt, sizeof size);
  if (size > bytes.size() - kTableAt) return bytes;
  const std::uint64_t hash = hash64(std::string_view(bytes).substr(kTableAt, size));
  std::memcpy(bytes.data() + kHashAt, &hash, sizeof hash);
  return bytes;
}

void use_prefixes(const std::string& bytes) {
  static const std::shared_ptr<kernels::Backend> backend = kernels::make_cpu_backend({.threads = 1});
  cache::BlockPool pool(backend, kLayout, 1, kPoolBlocks * backend->kv_block_bytes(kLayout));
  cache::PrefixTree tree(pool);
  guarded([&] {
    const std::uint64_t blocks = cache::load_prefixes(Bytes::copy_of(bytes, "input"), tree, {1, "fuzz"});
    if (blocks != tree.size() || blocks != pool.used_blocks()) throw std::logic_error("blocks are missing");
  });
  for (const auto& entry : tree.most_recent(tree.size()).entries) (void)tree.lookup("full", entry.keys);
  if (!tree.evict(kPoolBlocks) || tree.size() > 0) throw std::logic_error("blocks that nobody holds stay");
}

void fuzz_prefixes(std::string_view data) {
  use_prefixes(std::string(data));
  use_prefixes(with_hash(std::string(data)));
}

}  // namespace

const Target& prefixes_target() {
  static constexpr Target kPrefixes{"prefixes", fuzz_prefixes, prefixes_seeds};
  return kPrefixes;
}

}  // namespace lathe::fuzz
