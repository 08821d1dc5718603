// The policy that keeps and sees everything.
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

class FullPolicy final : public KvPolicy {
 public:
  std::string name() const override { return "full"; }
  std::vector<SlotRange> visible(std::uint64_t length, std::uint64_t count) const override {
    return {{0, length + count, 0}};
  }
  SlotRange forgotten(std::uint64_t) const override { return {}; }
};

}  // namespace

std::unique_ptr<KvPolicy> full_policy() { return std::make_unique<FullPolicy>(); }

}  // namespace lathe::cache
