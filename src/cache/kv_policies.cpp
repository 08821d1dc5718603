// The table of KV policies by the names users give them.
#include <charconv>
#include <utility>

#include "base/error.h"
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

constexpr std::uint64_t kDefaultSinks = 4, kDefaultWindow = 1024;

[[noreturn]] void refuse(std::string_view text, std::string_view problem) {
  throw UsageError(fmt::format("KV policy \"{}\" {}", text, problem), "", "policies: full, sinks, sinks:SINKS+WINDOW");
}

// "4+256"
std::pair<std::uint64_t, std::uint64_t> sizes(std::string_view text, std::string_view whole) {
  std::uint64_t sinks = 0, window = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, sinks);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '+') refuse(whole, "needs two sizes");
  const auto second = std::from_chars(first.ptr + 1, end, window);
  if (second.ec != std::errc{} || second.ptr != end) refuse(whole, "needs two sizes");
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
  if (sinks > kMost || window > kMost) refuse(whole, "asks for more than any context holds");
  return {sinks, window};
}

}  // namespace

std::unique_ptr<KvPolicy> kv_policy_named(std::string_view text) {
  if (text == "full") return full_policy();
  if (text == "sinks") return sinks_policy(kDefaultSinks, kDefaultWindow);
  if (text.starts_with("sinks:")) {
    const auto [sinks, window] = sizes(text.substr(6), text);
    return sinks_policy(sinks, window);
  }
  refuse(text, "is not known");
}

}  // namespace lathe::cache
