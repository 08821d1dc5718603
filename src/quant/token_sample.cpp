#include "quant/token_sample.h"

#include <algorithm>

namespace lathe::quant {

void TokenSample::add(std::span<const float> token) {
  const std::uint64_t index = seen_++;
  if (index % stride_ != 0) return;
  if (rows_.size() == kMost * token.size()) {
    stride_ *= 2;
    for (std::size_t kept = 1; kept < kMost / 2; ++kept) {
      std::copy_n(rows_.begin() + static_cast<std::ptrdiff_t>(2 * kept * token.size()), token.size(),
                  rows_.begin() + static_cast<std::ptrdiff_t>(kept * token.size()));
    }
    rows_.resize(kMost / 2 * token.size());
    if (index % stride_ != 0) return;
  }
  rows_.insert(rows_.end(), token.begin(), token.end());
}

}  // namespace lathe::quant
