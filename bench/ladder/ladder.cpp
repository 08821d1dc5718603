#include "ladder/ladder.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "base/error.h"
#include "kernels/cpu/kernels.h"

namespace lathe::kernels::ladder {
namespace {

constexpr double kRound = 0.2, kEnough = 3;  // seconds: of one round, and after which no further one begins
constexpr int kLeastRounds = 2, kMostRounds = 5;

// Seconds of one call, the best of several rounds.
double seconds_of(const std::function<void(std::size_t)>& step) {
  using Clock = std::chrono::steady_clock;
  std::size_t calls = 0;
  const auto round = [&](std::size_t count) {
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < count; ++i) step(calls++);
    return std::chrono::duration<double>(Clock::now() - begin).count() / static_cast<double>(count);
  };
  double best = round(1), spent = 0;
  for (int i = 0; i < kLeastRounds || (i < kMostRounds && spent < kEnough); ++i) {
    const std::size_t count = std::max<std::size_t>(1, static_cast<std::size_t>(kRound / best));
    const double seconds = round(count);
    spent += seconds * static_cast<double>(count);
    best = std::min(best, seconds);
  }
  return best;
}

double relative_error(std::span<const float> result, std::span<const float> reference) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    error += std::pow(static_cast<double>(result[i]) - reference[i], 2);
    total += std::pow(static_cast<double>(reference[i]), 2);
  }
  return std::sqrt(error / total);
}

}  // namespace

Ladder::Ladder(const Options& options, std::string_view title, Work work, std::vector<float> reference)
    : options_(options), title_(title), work_(work), reference_(std::move(reference)), result_(reference_.size()) {
  fmt::print("\n## {}\n\n| rung | error |{}\n", title,
             options.check ? "" : " microseconds | GB/s | GOP/s | times the rung before | times the first |");
  fmt::print("| --- | --- |{}\n", options.check ? "" : " --- | --- | --- | --- | --- |");
}

void Ladder::rung(std::string_view what, double tolerance, const std::function<void(std::size_t)>& step,
                  const std::function<void()>& fetch) {
  if (!options_.wants_rung(what)) return;
  std::fill(result_.begin(), result_.end(), NAN);
  step(0);
  if (fetch) fetch();
  const double error = relative_error(result_, reference_);
  if (!(error <= tolerance))
    fail(title_, "\"{}\" is {:.2g} from the reference, allowed are {:.2g}", what, error, tolerance);
  fmt::print("| {} | {:.1g} |", what, error);
  if (!options_.check) {
    const double seconds = seconds_of(step), microseconds = 1e6 * seconds;
    if (first_ == 0) first_ = before_ = seconds;
    fmt::print(" {:.{}f} | {:.2f} | {:.2f} | {:.2f} | {:.1f} |", microseconds, microseconds < 100 ? 2 : 0,
               1e-9 * work_.bytes / seconds, 1e-9 * work_.operations / seconds, before_ / seconds, first_ / seconds);
    before_ = seconds;
  }
  fmt::print("\n");
  std::fflush(stdout);
}

std::vector<std::string> kernel_sets() {
  std::vector<std::string> sets = cpu::available_kernels();
  sets.pop_back();  // "scalar", which is the reference
  std::reverse(sets.begin(), sets.end());
  return sets;
}

std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  return values;
}

float plain_dot(const float* a, const float* b, std::size_t n) {
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

float lanes_dot(const float* a, const float* b, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  for (std::size_t i = 0; i < n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float one : sums) sum += one;
  return sum;
}

}  // namespace lathe::kernels::ladder
