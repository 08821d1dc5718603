// Which engine takes a request: by what it has read, by what waits there.
#include "serve/prefix_router.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "serve/router_file.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

namespace lathe::serve {
namespace {

std::vector<text::TokenId> prompt(text::TokenId prefix, std::size_t shared, text::TokenId own, std::size_t rest) {
  std::vector<text::TokenId> ids(shared, prefix);
  ids.insert(ids.end(), rest, own);
  return ids;
}

TEST(PrefixRouter, ARequestFollowsItsPrefix) {
  PrefixRouter router(3, 16);
  const std::uint64_t idle[] = {0, 0, 0};
  std::vector<std::size_t> home;
  for (text::TokenId application = 0; application < 3; ++application)
    home.push_back(router.choose("", prompt(application, 1000, 0, 0), idle));
  std::vector<std::size_t> sorted = home;
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, (std::vector<std::size_t>{0, 1, 2})) << "strangers take turns";
  for (text::TokenId user = 10; user < 40; ++user) {
    const text::TokenId application = user % 3;
    EXPECT_EQ(router.choose("", prompt(application, 1000, user, 100), idle),
              home[static_cast<std::size_t>(application)]);
  }
}

TEST(PrefixRouter, WhatItKnowsOutlivesIt) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "lathe_prefix_router_test.router";
  const std::uint64_t idle[] = {0, 0, 0};
  PrefixRouter router(3, 16);
  std::vector<std::size_t> home;
  for (text::TokenId application = 0; application < 4; ++application)
    home.push_back(router.choose("", prompt(application, 1000, 0, 0), idle));
  EXPECT_EQ(router.memory().size(), 4 * (1000 / PrefixRouter::kBlock));
  save_router_memory(path, router.memory());
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::mask,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const auto memory = load_router_memory(path);
  EXPECT_EQ(memory, router.memory());
  PrefixRouter next(3, 16);
  next.recall(memory, ~std::uint64_t{0});
  EXPECT_EQ(next.memory(), memory);
  for (const text::TokenId application : {3, 1, 0, 2})
    EXPECT_EQ(next.choose("", prompt(application, 1000, 7, 10), idle), home[static_cast<std::size_t>(application)]);
  // Of engines that are gone, or have lost what they read, nothing is recalled.
  for (const auto& [engines, which] : {std::pair<std::size_t, std::uint64_t>{1, 7}, {3, 1}}) {
    PrefixRouter fewer(engines, 16);
    fewer.recall(memory, which);
    EXPECT_FALSE(fewer.memory().empty());
    for (const auto& one : fewer.memory()) EXPECT_EQ(one.engines, 1u);
  }
  PrefixRouter none(3, 16);
  none.recall(memory, 0);
  EXPECT_TRUE(none.memory().empty());

  const std::string good = read_file(path);
  const auto refused = [&](std::string bytes, const char* why) {
    write_file(path, bytes);
    try {
      load_router_memory(path);
      ADD_FAILURE() << why;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  refused("", "is empty");
  refused("LRT", "magic");
  refused("GGUF" + good.substr(4), "does not say");
  refused(good.substr(0, 4) + '\2' + good.substr(5), "version 2");
  refused(good.substr(0, good.size() - 1), "damaged");
  refused(good + "x", "damaged");
  refused(good.substr(0, 15) + '\x7f' + good.substr(16), "damaged");  // a count that would be exabytes
  for (const std::size_t at : {std::size_t{16}, std::size_t{24}, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    refused(bad, "hash");
  }
  std::filesystem::remove(path);
}

// Card 012, check e: two engines, two applications with a prompt of their own, users that come at random.
TEST(PrefixRouter, RequestsOfOnePrefixStayTogetherUnderLoad) {
  PrefixRouter router(2, 16);
  std::uint64_t outstanding[2] = {0, 0}, at[2][2] = {};
  std::uint64_t random = 1;
  std::vector<std::size_t> running;
  for (text::TokenId user = 0; user < 1000; ++user) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const auto application = static_cast<std::size_t>(random >> 63);
    const std::size_t engine =
        router.choose("", prompt(static_cast<text::TokenId>(application), 1024, user, 60), outstanding);
    ++at[application][engine];
    ++outstanding[engine];
    running.push_back(engine);
    if (running.size() > 16) {  // half of what both can run at a time
      --outstanding[running.front()];
      running.erase(running.begin());
    }
  }
  for (const auto& application : at)
    EXPECT_GE(std::max(application[0], application[1]), 9 * std::accumulate(application, application + 2, 0u) / 10);
}

TEST(PrefixRouter, ABusyEngineLosesIt) {
  PrefixRouter router(2, 4);
  const std::uint64_t idle[] = {0, 0};
  const auto shared = prompt(1, 256, 2, 10);
  const std::size_t home = router.choose("", shared, idle);
  std::uint64_t outstanding[] = {0, 0};
  outstanding[home] = 2;
  EXPECT_EQ(router.choose("", shared, outstanding), home) << "two beside it cost less than reading 256 tokens";
  outstanding[home] = 5;
  EXPECT_NE(router.choose("", shared, outstanding), home);
  outstanding[home] = 0;
  EXPECT_EQ(router.choose("an adapter", shared, idle), router.choose("an adapter", shared, idle));
}

TEST(PrefixRouter, ShortPromptsGoWhereLeastRuns) {
  PrefixRouter router(2, 8);
  std::uint64_t outstanding[] = {0, 0};
  for (int i = 0; i < 20; ++i) ++outstanding[router.choose("", prompt(7, 40, i, 5), outstanding)];
  EXPECT_EQ(outstanding[0], outstanding[1]);
}

TEST(PrefixRouter, RemembersAsMuchAsItMay) {
  PrefixRouter router(2, 8);
  const std::uint64_t idle[] = {0, 0};
  const auto old = prompt(-1, 64, 0, 0);
  const std::size_t home = router.choose("", old, idle);
  for (std::size_t i = 0; i < PrefixRouter::kMostPrefixes; ++i)
    router.choose("", prompt(static_cast<text::TokenId>(i), PrefixRouter::kBlock, 0, 0), idle);
  const std::uint64_t busy_home[] = {home == 0 ? 1u : 0u, home == 1 ? 1u : 0u};
  EXPECT_NE(router.choose("", old, busy_home), home) << "forgotten";
}

}  // namespace
}  // namespace lathe::serve
