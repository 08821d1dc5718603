// How many activations lay beyond a fixed 8-bit range (W8A8), counted while a stream lives and told at its end in
// the debug log: a static scale meets other texts than those it was calibrated on.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>

#include "base/log.h"

namespace lathe::kernels::cpu {

class Q8Tally {
 public:
  Q8Tally() = default;
  Q8Tally(const Q8Tally&) = delete;
  Q8Tally& operator=(const Q8Tally&) = delete;
  ~Q8Tally() {
    if (shadow_.values > 0) {
      log_debug("8-bit inputs with a shadow: {} rows, {} of {} values in it", shadow_.rows, shadow_.beyond,
                shadow_.values);
    }
    if (cut_.values > 0) {
      log_debug("8-bit inputs without a shadow: {} rows, {} of {} values cut off", cut_.rows, cut_.beyond, cut_.values);
    }
  }

  // Rows of `columns` each, `beyond` of which lay outside.
  void add(std::uint64_t columns, bool shadow, std::span<const std::uint32_t> beyond) {
    Count& count = shadow ? shadow_ : cut_;
    count.rows += beyond.size();
    count.values += columns * beyond.size();
    count.beyond = std::accumulate(beyond.begin(), beyond.end(), count.beyond);
  }

 private:
  struct Count {
    std::uint64_t rows = 0, values = 0, beyond = 0;
  };
  Count shadow_, cut_;
};

}  // namespace lathe::kernels::cpu
