// The virtual token counters of clients: who goes next, and that absence earns nothing.
#include "engine/fair_share.h"

#include <gtest/gtest.h>

#include <string>

namespace lathe::engine {
namespace {

TEST(FairShare, CountsPromptTokensOnceAndGeneratedOnesTwice) {
  FairShare share;
  share.arrive("a");
  share.charge("a", 10, 3);
  EXPECT_EQ(share.served("a"), 16u);
  EXPECT_EQ(share.served("nobody"), 0u);
}

TEST(FairShare, ANewClientStartsLevelWithTheLeastServedAtWork) {
  FairShare share;
  share.arrive("a");
  share.arrive("b");
  share.charge("a", 100, 0);
  share.charge("b", 40, 0);
  share.arrive("c");
  EXPECT_EQ(share.served("c"), 40u);
}

TEST(FairShare, ComingBackKeepsADebtAndEarnsNothing) {
  FairShare share;
  share.arrive("greedy");
  share.arrive("modest");
  share.charge("greedy", 500, 0);
  share.charge("modest", 100, 0);
  share.leave("greedy");
  share.leave("modest");
  share.arrive("modest");
  share.charge("modest", 100, 0);
  share.arrive("greedy");
  EXPECT_EQ(share.served("greedy"), 500u);
  share.leave("modest");
  share.charge("greedy", 500, 0);
  share.arrive("modest");
  EXPECT_EQ(share.served("modest"), 1000u);
}

TEST(FairShare, ForgetsOnlyClientsWithoutJobs) {
  FairShare share;
  share.arrive("stays");
  share.charge("stays", 7, 0);
  for (std::size_t i = 0; i < 2 * FairShare::kMostRemembered; ++i) {
    const std::string name = "passing " + std::to_string(i);
    share.arrive(name);
    share.leave(name);
  }
  EXPECT_EQ(share.served("stays"), 7u);
}

}  // namespace
}  // namespace lathe::engine
