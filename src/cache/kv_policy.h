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

// Which blocks of a memory a query is shown; the last two are what the first is measured against.
enum class MemoryChoice : std::uint8_t { kBest, kLatest, kRandom };

// What a policy keeps of tokens that have left its window (cache/context_memory.h).
struct MemoryOptions {
  std::uint64_t sinks = 128;          // first tokens, shown always
  std::uint64_t window = 2048;        // recent tokens, the query's own included
  std::uint64_t block = 128;          // tokens of a block
  std::uint64_t shown = 16;           // blocks shown at a time
  std::uint64_t representatives = 4;  // tokens that stand for a block
  std::uint64_t step = 128;           // tokens of a prompt that share one choice
  std::uint64_t cached = 16;          // more blocks of a layer that stay in memory where others may leave for a disk
  MemoryChoice choice = MemoryChoice::kBest;
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
  // What it keeps beside that; null for nothing.
  virtual const MemoryOptions* memory() const { return nullptr; }
  // Whether sequences may share the blocks of a common beginning. What a memory shows to its tokens depends on all of
  // it, and is not in the blocks.
  bool shares_prefixes() const { return memory() == nullptr; }
  // How many of `pending` tokens behind `length` the next pass reads, which has room for `room`; 0: none of them yet.
  virtual std::uint64_t rows_of_pass(std::uint64_t length, std::uint64_t pending, std::uint64_t room) const {
    (void)length;
    return pending < room ? pending : room;
  }
};

// Everything, always.
std::unique_ptr<KvPolicy> full_policy();
// The first `sinks` tokens and the last `window`, the query's own included.
std::unique_ptr<KvPolicy> sinks_policy(std::uint64_t sinks, std::uint64_t window);

// A window, and a memory of everything older. Throws UsageError for sizes that make no sense.
std::unique_ptr<KvPolicy> infllm_policy(const MemoryOptions& options);

// A policy as users choose it: its kind and the numbers of that kind.
enum class KvPolicyKind : std::uint8_t { kFull, kSinks, kInfLlm };
struct SinksOptions {
  std::uint64_t sinks = 4, window = 1024;
};
struct KvPolicyChoice {
  KvPolicyKind kind = KvPolicyKind::kFull;
  SinksOptions sinks;
  MemoryOptions memory;
};
std::string_view kv_policy_kind_name(KvPolicyKind kind);  // "full", "sinks", "infllm"

// From a user's words: "full", "sinks" (4 sinks and a window of 1024), "sinks:4+256", "infllm",
// "infllm:128+2048,block=128,blocks=16,repr=4,step=128,cached=16,choice=random". Throws UsageError listing the policies
// there are.
KvPolicyChoice kv_policy_choice(std::string_view text);
// Throws UsageError for sizes that make no sense, as the next does.
std::unique_ptr<KvPolicy> make_kv_policy(const KvPolicyChoice& choice);
// In a user's words.
std::string kv_policy_text(const KvPolicyChoice& choice);
std::unique_ptr<KvPolicy> kv_policy_named(std::string_view text);

}  // namespace lathe::cache
