// How large many numbers are, in a histogram of fixed size: quantiles of more values than can be kept.
#pragma once

#include <cstdint>
#include <vector>

namespace lathe::quant {

// Buckets are a 64th of a power of two wide, so that quantiles are at most 1.6 % too large.
class Magnitudes {
 public:
  // `magnitude` >= 0. Infinities and NaN count as larger than any number, and have no quantiles.
  void add(float magnitude);
  // All that `other` counted.
  void add(const Magnitudes& other);
  // The largest magnitude when the largest `share` of all numbers is left out, rounded up to the end of its bucket; 0
  // of no numbers.
  float largest_without(double share) const;

 private:
  std::uint64_t count_ = 0;
  std::vector<std::uint64_t> buckets_;
};

}  // namespace lathe::quant
