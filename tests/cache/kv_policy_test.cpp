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

TEST(KvPolicy, ThePassesOfAMemoryEndWithItsStepsAndLeaveTheLastTokenAlone) {
  const auto policy = kv_policy_named("infllm:32+256,step=64");
  EXPECT_EQ(policy->rows_of_pass(0, 1000, 256), 64u);
  EXPECT_EQ(policy->rows_of_pass(40, 1000, 256), 24u);  // to the end of the step
  EXPECT_EQ(policy->rows_of_pass(64, 20, 256), 19u);
  EXPECT_EQ(policy->rows_of_pass(83, 1, 256), 1u);
  EXPECT_EQ(policy->rows_of_pass(0, 1000, 63), 0u);  // no room for it all: not yet
  EXPECT_EQ(kv_policy_named("full")->rows_of_pass(0, 1000, 63), 63u);
}

TEST(KvPolicy, AMemorysNameSaysAllThatDecidesWhatIsShown) {
  EXPECT_EQ(kv_policy_named("infllm")->name(), "infllm:128+2048,block=128,blocks=16,repr=4,step=128,choice=best");
  EXPECT_EQ(kv_policy_named("infllm:0+64,step=8,repr=2,choice=random,blocks=3,block=32")->name(),
            "infllm:0+64,block=32,blocks=3,repr=2,step=8,choice=random");
  for (const char* bad :
       {"infllm:", "infllm:4", "infllm:4+1", "infllm:4+64,step=65", "infllm:4+64,block=0", "infllm:4+64,block=65",
        "infllm:4+64,block=1099511627776", "infllm:4+64,repr=0", "infllm:4+64,block=8,repr=9", "infllm:4+64,blocks",
        "infllm:4+64,blocks=", "infllm:4+64,blocks=2x", "infllm:4+64,colour=2", "infllm:4+64,choice=worst",
        "infllm:4+64,", "infllm:4+99999999999999999999", "infllm:4+64,blocks=99999999999999999999"}) {
    EXPECT_THROW(kv_policy_named(bad), UsageError) << bad;
  }
}

TEST(KvPolicy, NamesAreParsedAndNonsenseIsRefused) {
  for (const char* text : {"full", "sinks:2+16", "infllm:0+64,block=32,blocks=3,repr=2,step=8,choice=latest,cached=5"})
    EXPECT_EQ(kv_policy_text(kv_policy_choice(text)), text);
  EXPECT_EQ(kv_policy_named("sinks")->name(), "sinks:4+1024");
  EXPECT_EQ(kv_policy_named("sinks:2+16")->name(), "sinks:2+16");
  for (const char* text : {"", "fulll", "full:", "full:4+64", "sinks:", "sinks:4", "sinks:4+", "sinks:+4", "sinks:4+0",
                           "sinks:4+8x", "sinks:-1+8", "sinks:99999999999999999999+1"}) {
    EXPECT_THROW(kv_policy_named(text), UsageError) << text;
  }
}

}  // namespace
}  // namespace lathe::cache
