// Eight floats side by side, as two vectors of four, which every processor has; operators work on each.
#pragma once

namespace lathe {

constexpr int kLanes = 8;

struct Lanes {
  using Four = float __attribute__((vector_size(16)));
  Four low = {}, high = {};

  static Lanes all(float value) { return {Four{value, value, value, value}, Four{value, value, value, value}}; }
  static Lanes of(const float* values) {
    return {Four{values[0], values[1], values[2], values[3]}, Four{values[4], values[5], values[6], values[7]}};
  }
  float operator[](int lane) const { return lane < 4 ? low[lane] : high[lane - 4]; }

  friend Lanes operator+(Lanes a, Lanes b) { return {a.low + b.low, a.high + b.high}; }
  friend Lanes operator-(Lanes a, Lanes b) { return {a.low - b.low, a.high - b.high}; }
  friend Lanes operator*(Lanes a, Lanes b) { return {a.low * b.low, a.high * b.high}; }
  friend Lanes operator+(Lanes a, float b) { return a + all(b); }
  friend Lanes operator*(Lanes a, float b) { return a * all(b); }
};

// a where it is greater (less) than b, else b.
inline Lanes greater_of(Lanes a, Lanes b) { return {a.low > b.low ? a.low : b.low, a.high > b.high ? a.high : b.high}; }
inline Lanes lesser_of(Lanes a, Lanes b) { return {a.low < b.low ? a.low : b.low, a.high < b.high ? a.high : b.high}; }

}  // namespace lathe
