// Which cached tokens a query attends to. A policy is one file and one row of kv_policies().
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace lathe::cache {

// Slots [begin, end) of a sequence. With window > 0 a query sees only those of its last `window` positions.
struct SlotRange {
  std::uint64_t begin = 0, end = 0;
  std::int64_t window = 0;
};

class KvPolicy {
 public:
  virtual ~KvPolicy() = default;
  virtual std::string_view name() const = 0;
  // What queries at positions [length, length + count) attend to, in ascending order; includes their own slots.
  virtual std::vector<SlotRange> visible(std::uint64_t length, std::uint64_t count) const = 0;
  // Blocks whose every slot lies in [first, last) are never looked at again once `length` tokens are stored.
  virtual SlotRange forgotten(std::uint64_t length) const = 0;
};

// Everything, always.
std::unique_ptr<KvPolicy> full_policy();

}  // namespace lathe::cache
