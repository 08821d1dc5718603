// A ladder: ways to compute one thing, from naive to what ships, each held against the reference and then timed.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::kernels::ladder {

struct Options {
  std::string ladder, rung;  // only those whose names contain these
  bool check = false;        // hold every rung against the reference without timing it

  bool wants(std::string_view title) const { return title.find(ladder) != std::string_view::npos; }
  bool wants_rung(std::string_view what) const { return what.find(rung) != std::string_view::npos; }
};

// What one call of every rung reads and does.
struct Work {
  double bytes = 0, operations = 0;
};

class Ladder {
 public:
  // `reference`: what every rung has to leave in result().
  Ladder(const Options& options, std::string_view title, Work work, std::vector<float> reference);

  std::vector<float>& result() { return result_; }

  // `step` is called with a number that grows; `fetch`, if given, brings what it computed to result(). Throws an Error
  // when that is further than `tolerance` from the reference (root of the mean square, over the reference's own).
  void rung(std::string_view what, double tolerance, const std::function<void(std::size_t)>& step,
            const std::function<void()>& fetch = {});

 private:
  const Options& options_;
  std::string title_;
  Work work_;
  std::vector<float> reference_, result_;
  double first_ = 0, before_ = 0;  // seconds
};

constexpr double kExact = 1e-5;     // of a rung that rounds floats only
constexpr double kEightBit = 2e-2;  // of one with activations of 8 bits

// The kernels of this machine, from the least to the best.
std::vector<std::string> kernel_sets();

// Normally distributed, of deviation 1.
std::vector<float> random_floats(std::size_t count, std::uint64_t seed);

float plain_dot(const float* a, const float* b, std::size_t n);
// Sixteen sums side by side, which the compiler may keep in vectors. n is a multiple of 16.
float lanes_dot(const float* a, const float* b, std::size_t n);

// The ladders (linear.cpp, attention.cpp, rows.cpp).
void linear_ladder(const Options& options, std::string_view codec, std::size_t rows);
void attention_ladder(const Options& options, std::size_t rows, std::size_t tokens, std::size_t head_width);
void norm_ladders(const Options& options);
void rope_ladders(const Options& options);
void activation_ladders(const Options& options);

}  // namespace lathe::kernels::ladder
