// Every thread sums its share of the buffer; the sum is kept so that no read can be left out. Passes in which software
// asks for what lies ahead, as kernels do, take turns with plain ones: which of them is faster depends on the machine.
#include "cli/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/huge_pages.h"
#include "base/thread_pool.h"

namespace lathe::cli {
namespace {

constexpr double kShortestPass = 0.02;  // seconds of reading per measurement: long against clock and wake-up time
constexpr int kPasses = 7;
constexpr std::size_t kLane = 8;  // independent sums, so that additions do not wait for one another

template <bool kAsk>
std::uint64_t sum(const std::uint64_t* values, std::size_t count) {
  constexpr std::size_t kAhead = 2048 / sizeof(std::uint64_t);
  std::uint64_t lanes[kLane] = {};
  for (std::size_t i = 0; i + kLane <= count; i += kLane) {
    if constexpr (kAsk) __builtin_prefetch(values + std::min(i + kAhead, count - 1), 0, 2);
    for (std::size_t lane = 0; lane < kLane; ++lane) lanes[lane] += values[i + lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t lane : lanes) total += lane;
  return total;
}

}  // namespace

double measure_read_bandwidth(int threads, std::uint64_t bytes) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(threads);
  const auto workers = static_cast<std::size_t>(pool.size());
  const std::size_t share = std::max<std::size_t>(bytes / sizeof(std::uint64_t) / workers / kLane, 1) * kLane;
  const std::size_t buffer_bytes = share * workers * sizeof(std::uint64_t);
  const std::shared_ptr<std::byte> memory = allocate_in_huge_pages(buffer_bytes);  // as weights lie
  if (!memory) throw Error("there is no memory to measure the reading of", "", "free some, or use a smaller model");
  auto* const buffer = reinterpret_cast<std::uint64_t*>(memory.get());
  // Each share is first touched by a worker, in parallel, as weights are.
  pool.parallel_for(workers, 1, [&](std::size_t begin, std::size_t end, int) {
    std::fill(buffer + begin * share, buffer + end * share, std::uint64_t{1});
  });
  std::atomic<std::uint64_t> kept{0};
  const auto pass = [&](std::uint64_t repeats, bool ask) {
    const auto start = Clock::now();
    pool.parallel_for(workers, 1, [&](std::size_t begin, std::size_t end, int) {
      for (std::uint64_t i = 0; i < repeats; ++i) {
        const std::uint64_t* values = buffer + begin * share;
        const std::size_t count = (end - begin) * share;
        kept.fetch_add(ask ? sum<true>(values, count) : sum<false>(values, count), std::memory_order_relaxed);
      }
    });
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::uint64_t repeats = 1;
  while (pass(repeats, false) < kShortestPass) repeats *= 2;
  double best = pass(repeats, true);
  for (int i = 1; i < 2 * kPasses; ++i) best = std::min(best, pass(repeats, i % 2 == 0));
  const double read = static_cast<double>(repeats) * static_cast<double>(buffer_bytes);
  // Every value is 1, so the sum says that all was read; a wrong one makes the result useless rather than flattering.
  return kept.load() % (share * workers) == 0 ? read / best : 0;
}

}  // namespace lathe::cli
