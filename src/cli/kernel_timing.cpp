#include "cli/kernel_timing.h"

#include <algorithm>
#include <chrono>

#include "base/cancel.h"
#include "base/error.h"
#include "cli/common.h"

namespace lathe::cli {
namespace {

constexpr double kLeastSeconds = 0.15;             // of a measurement
constexpr double kMostSeconds = 4;                 // after which three calls do
constexpr std::size_t kFewest = 3, kEnough = 200;  // calls

}  // namespace

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::uint64_t positive_number(const std::string& text, std::string_view option, std::uint64_t most) {
  const bool digits = !text.empty() && text.size() <= 8 && text.find_first_not_of("0123456789") == std::string::npos;
  const std::uint64_t value = digits ? std::stoull(text) : 0;
  if (value == 0 || value > most)
    throw UsageError(fmt::format("{}: '{}' is no number from 1 to {}", option, text, most));
  return value;
}

std::vector<std::uint64_t> positive_numbers(const std::string& list, std::string_view option, std::uint64_t most) {
  std::vector<std::uint64_t> numbers;
  for (const std::string& text : split(list, ',')) numbers.push_back(positive_number(text, option, most));
  return numbers;
}

std::vector<std::unique_ptr<kernels::Backend>> backends_for(const std::string& kernels, std::uint32_t threads) {
  std::vector<std::unique_ptr<kernels::Backend>> backends;
  for (const std::string& name : split(kernels, ','))
    backends.push_back(kernels::make_cpu_backend(runtime_options({.threads = threads, .kernel = name}).cpu));
  return backends;
}

double median_seconds(std::size_t inputs, const std::function<void(std::size_t)>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  double total = 0;
  for (std::size_t i = 0;; ++i) {
    interrupt_token().check();
    const auto start = Clock::now();
    work(i % inputs);
    const double taken = std::chrono::duration<double>(Clock::now() - start).count();
    if (i >= inputs || total > kMostSeconds) seconds.push_back(taken);
    total += taken;
    if (total >= kLeastSeconds && seconds.size() >= std::min(2 * inputs, kEnough)) break;
    if (total >= 2 * kMostSeconds && seconds.size() >= kFewest) break;
  }
  return median(std::move(seconds));
}

}  // namespace lathe::cli
