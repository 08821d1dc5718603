// The table of KV policies by the names users give them.
#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 40;
constexpr std::string_view kKinds[] = {"full", "sinks", "infllm"}, kChoices[] = {"best", "latest", "random"};

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
      const auto* const known = std::find(std::begin(kChoices), std::end(kChoices), value);
      if (known == std::end(kChoices)) refuse(whole, "chooses best, latest or random");
      options.choice = static_cast<MemoryChoice>(known - kChoices);
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

std::string_view kv_policy_kind_name(KvPolicyKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

KvPolicyChoice kv_policy_choice(std::string_view text) {
  KvPolicyChoice choice;
  const std::size_t colon = text.find(':');
  const auto* const kind = std::find(std::begin(kKinds), std::end(kKinds), text.substr(0, colon));
  if (kind == std::end(kKinds)) refuse(text, "is not known");
  choice.kind = static_cast<KvPolicyKind>(kind - kKinds);
  if (colon == std::string_view::npos) return choice;
  const std::string_view numbers = text.substr(colon + 1);
  if (choice.kind == KvPolicyKind::kFull) refuse(text, "has no numbers");
  if (choice.kind == KvPolicyKind::kSinks)
    std::tie(choice.sinks.sinks, choice.sinks.window) = sizes(numbers, text);
  else
    choice.memory = memory_options(numbers, text);
  return choice;
}

std::unique_ptr<KvPolicy> make_kv_policy(const KvPolicyChoice& choice) {
  switch (choice.kind) {
    case KvPolicyKind::kSinks:
      return sinks_policy(choice.sinks.sinks, choice.sinks.window);
    case KvPolicyKind::kInfLlm:
      return infllm_policy(choice.memory);
    default:
      return full_policy();
  }
}

std::string kv_policy_text(const KvPolicyChoice& choice) {
  const std::string name = make_kv_policy(choice)->name();  // without what decides nothing but memory
  return choice.kind == KvPolicyKind::kInfLlm ? fmt::format("{},cached={}", name, choice.memory.cached) : name;
}

std::unique_ptr<KvPolicy> kv_policy_named(std::string_view text) { return make_kv_policy(kv_policy_choice(text)); }

}  // namespace lathe::cache
