// The table of KV policies by the names users give them.
#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

constexpr std::uint64_t kDefaultSinks = 4, kDefaultWindow = 1024, kMostTokens = std::uint64_t{1} << 40;

[[noreturn]] void refuse(std::string_view text, std::string_view problem) {
  throw UsageError(fmt::format("KV policy \"{}\" {}", text, problem), "",
                   "policies: full, sinks, sinks:SINKS+WINDOW, infllm, "
                   "infllm:SINKS+WINDOW[,block=N][,blocks=N][,repr=N][,step=N][,cached=N]");
}

// "4+256"
std::pair<std::uint64_t, std::uint64_t> sizes(std::string_view text, std::string_view whole) {
  std::uint64_t sinks = 0, window = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, sinks);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '+') refuse(whole, "needs two sizes");
  const auto second = std::from_chars(first.ptr + 1, end, window);
  if (second.ec != std::errc{} || second.ptr != end) refuse(whole, "needs two sizes");
  if (sinks > kMostTokens || window > kMostTokens) refuse(whole, "asks for more than any context holds");
  return {sinks, window};
}

// "128+2048,blocks=8"
MemoryOptions memory_options(std::string_view text, std::string_view whole) {
  MemoryOptions options;
  std::tie(options.sinks, options.window) = sizes(text.substr(0, text.find(',')), whole);
  while (text.find(',') != std::string_view::npos) {
    text.remove_prefix(text.find(',') + 1);
    const std::string_view setting = text.substr(0, text.find(','));
    const std::string_view name = setting.substr(0, setting.find('=')),
                           value = setting.substr(std::min(setting.size(), name.size() + 1));
    if (name == "choice") {
      if (value != "best" && value != "latest" && value != "random") refuse(whole, "chooses best, latest or random");
      options.choice = value == "best"     ? MemoryChoice::kBest
                       : value == "latest" ? MemoryChoice::kLatest
                                           : MemoryChoice::kRandom;
      continue;
    }
    std::uint64_t* const number = name == "block"    ? &options.block
                                  : name == "blocks" ? &options.shown
                                  : name == "repr"   ? &options.representatives
                                  : name == "step"   ? &options.step
                                  : name == "cached" ? &options.cached
                                                     : nullptr;
    if (number == nullptr) refuse(whole, "has a setting that is not known");
    const auto read = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (read.ec != std::errc{} || read.ptr != value.data() + value.size() || *number > kMostTokens)
      refuse(whole, "has a setting that is no number");
  }
  return options;
}

}  // namespace

std::unique_ptr<KvPolicy> kv_policy_named(std::string_view text) {
  if (text == "full") return full_policy();
  if (text == "sinks") return sinks_policy(kDefaultSinks, kDefaultWindow);
  if (text.starts_with("sinks:")) {
    const auto [sinks, window] = sizes(text.substr(6), text);
    return sinks_policy(sinks, window);
  }
  if (text == "infllm") return infllm_policy({});
  if (text.starts_with("infllm:")) return infllm_policy(memory_options(text.substr(7), text));
  refuse(text, "is not known");
}

}  // namespace lathe::cache
