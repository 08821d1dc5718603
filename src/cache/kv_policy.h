// Which cached tokens a query attends to. A policy is one file and one row of kv_policies.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
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
  // Names everything that decides what is kept: sequences share blocks only under equal names.
  virtual std::string name() const = 0;
  // What queries at positions [length, length + count) attend to, in ascending order; includes their own slots.
  virtual std::vector<SlotRange> visible(std::uint64_t length, std::uint64_t count) const = 0;
  // Slots that are never looked at again once `length` tokens are stored; whole blocks of them are freed.
  virtual SlotRange forgotten(std::uint64_t length) const = 0;
};

// Everything, always.
std::unique_ptr<KvPolicy> full_policy();
// The first `sinks` tokens and the last `window`, the query's own included.
std::unique_ptr<KvPolicy> sinks_policy(std::uint64_t sinks, std::uint64_t window);

// From a user's words: "full", "sinks" (4 sinks and a window of 1024), "sinks:4+256". Throws UsageError listing the
// policies there are.
std::unique_ptr<KvPolicy> kv_policy_named(std::string_view text);

}  // namespace lathe::cache
