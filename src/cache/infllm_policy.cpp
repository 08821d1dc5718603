// A window of recent tokens, with everything older in a memory of blocks (InfLLM, Xiao et al. 2024).
#include <algorithm>

#include "base/error.h"
#include "cache/kv_policy.h"

namespace lathe::cache {
namespace {

class InfLlmPolicy final : public KvPolicy {
 public:
  explicit InfLlmPolicy(const MemoryOptions& options) : memory_(options) {}

  std::string name() const override {
    constexpr std::string_view kChoices[] = {"best", "latest", "random"};
    return fmt::format("infllm:{}+{},block={},blocks={},repr={},step={},choice={}", memory_.sinks, memory_.window,
                       memory_.block, memory_.shown, memory_.representatives, memory_.step,
                       kChoices[static_cast<std::size_t>(memory_.choice)]);
  }

  // What the memory does not show: the window.
  std::vector<SlotRange> visible(std::uint64_t length, std::uint64_t count) const override {
    return {{begin(length), length + count, static_cast<std::int64_t>(memory_.window)}};
  }
  SlotRange forgotten(std::uint64_t length) const override { return {0, begin(length), 0}; }

  const MemoryOptions* memory() const override { return &memory_; }

  // To the end of the step that `length` is in, or nothing: what the tokens of a pass are shown depends on all of them.
  // The last token of a prompt asks for itself: what it generates should not depend on what else was in its step.
  std::uint64_t rows_of_pass(std::uint64_t length, std::uint64_t pending, std::uint64_t room) const override {
    const std::uint64_t rows = std::min(memory_.step - length % memory_.step, std::max<std::uint64_t>(pending - 1, 1));
    return rows <= room ? rows : 0;
  }

 private:
  std::uint64_t begin(std::uint64_t length) const {
    return length + 1 > memory_.window ? length + 1 - memory_.window : 0;
  }

  MemoryOptions memory_;
};

}  // namespace

std::unique_ptr<KvPolicy> infllm_policy(const MemoryOptions& m) {
  const auto refuse = [](const std::string& problem) { throw UsageError(problem, "KV policy infllm"); };
  if (m.window < 2) refuse("a window of fewer than 2 tokens has no distance to give to what is outside");
  if (m.block == 0 || m.shown == 0 || m.step == 0) refuse("a memory needs blocks, some of them shown, and a step");
  if (m.block > m.window) refuse(fmt::format("blocks of {} are longer than the window of {}", m.block, m.window));
  if (m.representatives == 0 || m.representatives > m.block)
    refuse(fmt::format("{} representatives of a block of {} tokens", m.representatives, m.block));
  if (m.step > m.window) refuse(fmt::format("steps of {} are longer than the window of {}", m.step, m.window));
  return std::make_unique<InfLlmPolicy>(m);
}

}  // namespace lathe::cache
