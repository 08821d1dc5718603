// The extents of a dense row-major array, outermost first: a linear layer's weight is [out_features, in_features].
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace lathe {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::uint64_t> extents);
  // Throws for more than kMaxRank dimensions, and when the element count overflows; `where` goes into the error.
  static Shape of(std::span<const std::uint64_t> extents, std::string_view where);

  int rank() const { return rank_; }
  std::uint64_t operator[](int axis) const { return extents_[axis]; }
  std::uint64_t elements() const { return elements_; }  // 1 for rank 0
  // As a matrix: the innermost extent, and everything outside it. A rank-0 shape is 1 x 1.
  std::uint64_t cols() const { return rank_ == 0 ? 1 : extents_[rank_ - 1]; }
  std::uint64_t rows() const { return cols() == 0 ? 0 : elements_ / cols(); }
  std::string text() const;  // "[2048, 512]"
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::uint64_t, kMaxRank> extents_{};
  std::uint64_t elements_ = 1;
  int rank_ = 0;
};

}  // namespace lathe
