#include "serve/prefix_router.h"

#include "base/hash.h"

namespace lathe::serve {
namespace {

// What a call that runs beside it costs a request, and what one that has to end before it, in tokens of a prompt read
// in the same time: a step of the batch grows by one row of some hundred answers, a place becomes free after an answer.
constexpr std::uint64_t kBeside = 64, kBefore = 1024;

}  // namespace

std::size_t PrefixRouter::choose(std::string_view scope, std::span<const text::TokenId> prompt,
                                 std::span<const std::uint64_t> outstanding) {
  if (engines_ <= 1) return 0;
  std::vector<std::uint64_t> prefixes;
  std::uint64_t hash = hash64(scope);
  for (std::size_t end = kBlock; end <= prompt.size(); end += kBlock) {
    hash = hash64(std::as_bytes(prompt.subspan(end - kBlock, kBlock)), hash);
    prefixes.push_back(hash);
  }
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> read(engines_, 0);  // blocks of this prompt, by engine
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    const auto known = prefixes_.find(prefixes[i]);
    if (known == prefixes_.end()) break;
    for (std::size_t engine = 0; engine < engines_; ++engine) {
      if ((known->second.engines >> engine & 1) != 0 && read[engine] == i) read[engine] = i + 1;
    }
  }
  std::size_t best = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (std::size_t i = 0; i < engines_; ++i) {
    const std::size_t engine = (turn_ + i) % engines_;
    const std::uint64_t calls = outstanding[engine];
    const std::uint64_t before = calls < places_ ? 0 : calls - places_ + 1;
    const std::uint64_t cost = prompt.size() - read[engine] * kBlock + kBeside * calls + kBefore * before;
    if (cost < least) best = engine, least = cost;
  }
  turn_ = best + 1;
  for (const std::uint64_t prefix : prefixes) remember(prefix, std::uint64_t{1} << best);
  return best;
}

std::vector<PrefixRouter::Remembered> PrefixRouter::memory() const {
  const std::lock_guard lock(mutex_);
  std::vector<Remembered> memory;
  for (const auto& [last_used, prefix] : by_use_) memory.push_back({prefix, prefixes_.at(prefix).engines});
  return memory;
}

void PrefixRouter::recall(std::span<const Remembered> memory, std::uint64_t engines) {
  if (engines_ < kMostEngines) engines &= (std::uint64_t{1} << engines_) - 1;
  const std::lock_guard lock(mutex_);
  for (const Remembered& one : memory) {
    if ((one.engines & engines) != 0) remember(one.prefix, one.engines & engines);
  }
}

void PrefixRouter::remember(std::uint64_t prefix, std::uint64_t engines) {
  Known& known = prefixes_[prefix];
  known.engines |= engines;
  by_use_.erase(known.last_used);
  known.last_used = ++clock_;
  by_use_.emplace(known.last_used, prefix);
  if (prefixes_.size() <= kMostPrefixes) return;
  prefixes_.erase(by_use_.begin()->second);
  by_use_.erase(by_use_.begin());
}

}  // namespace lathe::serve
