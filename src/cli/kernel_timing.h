// What the benchmarks of single kernels (lathe bench matmul, lathe bench attention) share: how they are asked for, and
// how their time is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace lathe::cli {

inline constexpr std::uint64_t kBeyondCaches = 512 << 20;  // bytes that no cache holds

// The parts of `text` between separators, empty ones included.
std::vector<std::string> split(const std::string& text, char separator);

// A whole number of 1 to `most`; throws UsageError naming `option`.
std::uint64_t positive_number(const std::string& text, std::string_view option, std::uint64_t most = 99'999'999);
// The numbers of a list with commas.
std::vector<std::uint64_t> positive_numbers(const std::string& list, std::string_view option,
                                            std::uint64_t most = 99'999'999);

// A CPU backend for each name of kernels in a list. Throws UsageError for names that this machine has no kernels of.
std::vector<std::unique_ptr<kernels::Backend>> backends_for(const std::string& kernels, std::uint32_t threads);

// Median seconds of a call of work(i), where i runs over [0, inputs) again and again. The first turn does not count.
double median_seconds(std::size_t inputs, const std::function<void(std::size_t)>& work);

}  // namespace lathe::cli
