// Drafts from the text itself.
#include <algorithm>

#include "engine/speculative.h"

namespace lathe::engine {
namespace {

// How many last tokens must have occurred before; the longest match wins, then the latest.
constexpr std::size_t kLongest = 4, kShortest = 2;

class NgramDrafter final : public Drafter {
 public:
  std::unique_ptr<DraftState> begin() override { return nullptr; }

  void draft(std::span<DraftTask> tasks) override {
    for (DraftTask& task : tasks) {
      const auto tokens = task.tokens;
      for (std::size_t n = std::min(kLongest, tokens.size() - 1); n >= kShortest && task.draft.empty(); --n) {
        const auto last = tokens.last(n);
        // The latest earlier place where `last` stands; something follows it, if only its own repetition.
        const auto earlier = tokens.first(tokens.size() - 1);
        const auto at = std::find_end(earlier.begin(), earlier.end(), last.begin(), last.end());
        if (at == earlier.end()) continue;
        const std::size_t from = static_cast<std::size_t>(at - earlier.begin()) + n;
        // Where the match overlaps the end, the copy goes on with what it has just copied.
        for (std::size_t i = 0; i < task.most; ++i)
          task.draft.push_back(from + i < tokens.size() ? tokens[from + i] : task.draft[from + i - tokens.size()]);
      }
    }
  }
};

}  // namespace

std::unique_ptr<Drafter> ngram_drafter() { return std::make_unique<NgramDrafter>(); }

}  // namespace lathe::engine
