#include "quant/magnitudes.h"

#include <bit>

namespace lathe::quant {
namespace {

constexpr int kUnusedBits = 23 - 6;  // of a float's fraction
constexpr std::size_t kBuckets = std::size_t{1} << (31 - kUnusedBits);

}  // namespace

void Magnitudes::add(float magnitude) {
  if (buckets_.empty()) buckets_.resize(kBuckets);
  ++buckets_[std::bit_cast<std::uint32_t>(magnitude) >> kUnusedBits & (kBuckets - 1)];
  ++count_;
}

void Magnitudes::add(const Magnitudes& other) {
  if (other.count_ == 0) return;
  buckets_.resize(kBuckets);
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) buckets_[bucket] += other.buckets_[bucket];
  count_ += other.count_;
}

float Magnitudes::largest_without(double share) const {
  auto left_out = static_cast<std::uint64_t>(share * static_cast<double>(count_));
  for (std::size_t bucket = buckets_.size(); bucket-- > 0;) {
    if (buckets_[bucket] > left_out) {
      return std::bit_cast<float>(static_cast<std::uint32_t>((bucket + 1) << kUnusedBits) - 1);
    }
    left_out -= buckets_[bucket];
  }
  return 0;
}

}  // namespace lathe::quant
