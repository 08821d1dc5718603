// A window of recent tokens plus the first few, which attention uses as a sink (StreamingLLM, Xiao et al. 2023, section
// 3.2). Positions stay those of the text: keys are not rotated anew, so the text may be as long as the model's
// positions allow while memory stays that of the window.
#include <algorithm>

#include "base/error.h"
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

class SinksPolicy final : public KvPolicy {
 public:
  SinksPolicy(std::uint64_t sinks, std::uint64_t window) : sinks_(sinks), window_(window) {}

  std::string name() const override { return fmt::format("sinks:{}+{}", sinks_, window_); }

  std::vector<SlotRange> visible(std::uint64_t length, std::uint64_t count) const override {
    // The first query, at position `length`, looks back furthest: window_ positions, its own included.
    const std::uint64_t recent = std::max(sinks_, length + 1 > window_ ? length + 1 - window_ : 0);
    const std::uint64_t end = length + count;
    std::vector<SlotRange> ranges;
    if (sinks_ > 0) ranges.push_back({0, std::min(sinks_, end), 0});
    if (recent < end) ranges.push_back({recent, end, static_cast<std::int64_t>(window_)});
    return ranges;
  }

  SlotRange forgotten(std::uint64_t length) const override {
    const std::uint64_t recent = length + 1 > window_ ? length + 1 - window_ : 0;
    return {sinks_, std::max(sinks_, recent), 0};
  }

 private:
  std::uint64_t sinks_, window_;
};

}  // namespace

std::unique_ptr<KvPolicy> sinks_policy(std::uint64_t sinks, std::uint64_t window) {
  if (window == 0) throw UsageError("a window of 0 tokens sees nothing", "KV policy");
  return std::make_unique<SinksPolicy>(sinks, window);
}

}  // namespace lathe::cache
