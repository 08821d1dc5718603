// Parallel loops cover every index once, pass on exceptions, and do not deadlock when nested.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace lathe {
namespace {

class Pools : public testing::TestWithParam<int> {};

TEST_P(Pools, EveryIndexOnceInRangesOfAtMostTheGrain) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  for (const std::size_t count : {0, 1, 2, 7, 64, 1000}) {
    for (const std::size_t grain : {0, 1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> seen(count);
      std::atomic<bool> in_bounds{true};
      pool.parallel_for(count, grain, [&](std::size_t begin, std::size_t end, int worker) {
        if (begin >= end || end > count || end - begin > std::max<std::size_t>(1, grain) || worker < 0 ||
            worker >= pool.size())
          in_bounds = false;
        for (std::size_t i = begin; i < end; ++i) seen[i].fetch_add(1, std::memory_order_relaxed);
      });
      EXPECT_TRUE(in_bounds) << count << ' ' << grain;
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; })) << count << ' ' << grain;
    }
  }
}

// What the workers wrote is visible to the caller, and a worker's scratch is its own during a loop.
TEST_P(Pools, PublishesPlainWrites) {
  ThreadPool pool(GetParam());
  std::vector<std::uint64_t> values(997), scratch(static_cast<std::size_t>(pool.size()));
  for (std::uint64_t round = 1; round <= 300; ++round) {
    std::fill(scratch.begin(), scratch.end(), 0);
    pool.parallel_for(values.size(), 10, [&](std::size_t begin, std::size_t end, int worker) {
      for (std::size_t i = begin; i < end; ++i) {
        values[i] += i * round;
        scratch[static_cast<std::size_t>(worker)] += values[i];
      }
    });
    const auto sum = std::accumulate(scratch.begin(), scratch.end(), std::uint64_t{0});
    ASSERT_EQ(sum, 997 * 996 / 2 * (round * (round + 1) / 2)) << round;
  }
}

TEST_P(Pools, RethrowsAndGoesOn) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done{0};
    EXPECT_THROW(pool.parallel_for(100, 1,
                                   [&](std::size_t begin, std::size_t, int) {
                                     if (begin % 10 == 3) throw std::runtime_error("no");
                                     ++done;
                                   }),
                 std::runtime_error);
    EXPECT_LT(done.load(), 91);
    std::atomic<std::size_t> sum{0};
    pool.parallel_for(100, 1, [&](std::size_t begin, std::size_t, int) { sum += begin; });
    ASSERT_EQ(sum.load(), 4950u);
  }
}

TEST_P(Pools, NestedLoopsRunInline) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> seen(64 * 8);
  pool.parallel_for(64, 1, [&](std::size_t outer, std::size_t, int outer_worker) {
    const auto thread = std::this_thread::get_id();
    pool.parallel_for(8, 1, [&](std::size_t inner, std::size_t, int worker) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      EXPECT_EQ(worker, outer_worker);
      ++seen[outer * 8 + inner];
    });
  });
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
}

TEST_P(Pools, ConcurrentCallersWaitForEachOther) {
  ThreadPool pool(GetParam());
  std::atomic<std::size_t> total{0};
  std::atomic<int> inside{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        pool.parallel_for(40, 2, [&](std::size_t begin, std::size_t end, int) {
          if (inside.fetch_add(1) >= std::max(4, pool.size())) over = true;  // a pool of one runs each caller by itself
          total += end - begin;
          inside.fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4u * 50 * 40);
  EXPECT_FALSE(over);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Pools, testing::Values(1, 2, 3, 16), testing::PrintToStringParamName());

TEST(ThreadPool, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(1 + i % 5);
  EXPECT_GE(usable_cores(), 1);
  EXPECT_EQ(ThreadPool(0).size(), usable_cores());
  EXPECT_EQ(ThreadPool(-3).size(), usable_cores());
}

// An exception inside a nested loop passes through both.
TEST(ThreadPool, NestedExceptions) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(8, 1,
                                 [&](std::size_t, std::size_t, int) {
                                   pool.parallel_for(8, 1, [](std::size_t i, std::size_t, int) {
                                     if (i == 5) throw std::out_of_range("inner");
                                   });
                                 }),
               std::out_of_range);
  int runs = 0;
  pool.parallel_for(1, 1, [&](std::size_t, std::size_t, int) { ++runs; });
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace lathe
