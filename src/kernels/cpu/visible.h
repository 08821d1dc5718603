// Which key positions a query row may see: the causal, sliding-window and bidirectional rules in one place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/attention.h"

namespace lathe::kernels::cpu {

struct VisiblePositions {
  std::int64_t first, last;  // both included; empty when last < first
};

// `row` counts from the sequence's first query row.
inline VisiblePositions visible_positions(const AttentionParams& params, const AttentionSequence& sequence,
                                          const KvRun& run, std::uint64_t row) {
  const std::int64_t own = sequence.first_position + static_cast<std::int64_t>(row);
  VisiblePositions visible{std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
  if (params.causal) visible.last = own;
  if (run.lag > 0) visible.last = own - run.lag;
  const std::int64_t window = run.window > 0 ? run.window : params.window;
  if (window > 0) visible.first = own - window + 1;
  if (row < sequence.bidirectional_rows) {
    const std::int64_t rows = static_cast<std::int64_t>(std::min(sequence.bidirectional_rows, sequence.row_count));
    visible.first = std::min(visible.first, sequence.first_position);
    visible.last = std::max(visible.last, sequence.first_position + rows - 1);
  }
  return visible;
}

}  // namespace lathe::kernels::cpu
