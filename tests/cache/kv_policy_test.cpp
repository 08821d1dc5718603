// Which cached tokens a policy lets a query see, however a pass is cut.
#include "cache/kv_policy.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace lathe::cache {
namespace {

// The positions that the query at `position` sees, from ranges made for a pass that starts at `length`.
std::set<std::uint64_t> seen(const KvPolicy& policy, std::uint64_t length, std::uint64_t count,
                             std::uint64_t position) {
  std::set<std::uint64_t> result;
  for (const SlotRange& range : policy.visible(length, count)) {
    for (std::uint64_t slot = range.begin; slot < range.end && slot <= position; ++slot) {
      const bool in_window = range.window == 0 || slot + static_cast<std::uint64_t>(range.window) > position;
      if (in_window) {
        EXPECT_TRUE(result.insert(slot).second) << "slot " << slot << " appears twice";
      }
    }
  }
  return result;
}

TEST(KvPolicy, FullSeesEverythingAndForgetsNothing) {
  const auto policy = kv_policy_named("full");
  EXPECT_EQ(seen(*policy, 10, 5, 12).size(), 13u);
  const SlotRange forgotten = policy->forgotten(1000);
  EXPECT_GE(forgotten.begin, forgotten.end);
}

TEST(KvPolicy, SinksSeesTheFirstAndTheLastHoweverThePassIsCut) {
  for (const std::uint64_t sinks : {0, 1, 4}) {
    for (const std::uint64_t window : {1, 3, 8}) {
      const auto policy = sinks_policy(sinks, window);
      for (std::uint64_t position = 0; position < 30; ++position) {
        std::set<std::uint64_t> expected;
        for (std::uint64_t slot = 0; slot <= position; ++slot) {
          if (slot < sinks || slot + window > position) expected.insert(slot);
        }
        for (std::uint64_t length = 0; length <= position; ++length) {
          EXPECT_EQ(seen(*policy, length, position - length + 3, position), expected)
              << policy->name() << " position " << position << " pass from " << length;
        }
        // What is forgotten once `position` tokens are stored is seen by no later query.
        const SlotRange forgotten = policy->forgotten(position);
        for (std::uint64_t slot = forgotten.begin; slot < forgotten.end; ++slot) {
          EXPECT_FALSE(expected.contains(slot)) << slot;
        }
      }
    }
  }
}

TEST(KvPolicy, NamesAreParsedAndNonsenseIsRefused) {
  EXPECT_EQ(kv_policy_named("sinks")->name(), "sinks:4+1024");
  EXPECT_EQ(kv_policy_named("sinks:2+16")->name(), "sinks:2+16");
  for (const char* text : {"", "fulll", "sinks:", "sinks:4", "sinks:4+", "sinks:+4", "sinks:4+0", "sinks:4+8x",
                           "sinks:-1+8", "sinks:99999999999999999999+1"}) {
    EXPECT_THROW(kv_policy_named(text), UsageError) << text;
  }
}

}  // namespace
}  // namespace lathe::cache
