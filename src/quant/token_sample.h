// A few of the calibration tokens' inputs, kept as they are: for methods that compare the outputs of a layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace lathe::quant {

// Every stride-th token, evenly spread over all; the stride doubles whenever there would be too many, so what is kept
// depends on the tokens' order alone, not on how they come in.
class TokenSample {
 public:
  static constexpr std::size_t kMost = 128;  // and at least half as many, once there were that many tokens

  void add(std::span<const float> token);
  // Rows of all the same width, one behind the other.
  std::vector<float> take() { return std::move(rows_); }

 private:
  std::uint64_t seen_ = 0, stride_ = 1;
  std::vector<float> rows_;
};

}  // namespace lathe::quant
