// The merge of attention partials (running maximum, sum of exponentials, weighted values): the online softmax of
// Milakov and Gimelshein (2018) as FlashDecoding uses it across splits. Every split, retrieved segment and run ends
// here.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

namespace lathe::kernels::cpu {

struct Partial {
  float max = -std::numeric_limits<float>::infinity();  // of the scores seen
  float sum = 0;                                        // of exp(score - max)
  bool empty() const { return sum == 0; }
};

// into += from; the values are sums of exp(score - max) * value, v_dim floats each. Nothing changes for an empty
// `from`.
inline void merge_partial(Partial& into, float* into_values, const Partial& from, const float* from_values,
                          std::size_t v_dim) {
  if (from.empty()) return;
  if (into.empty()) {
    into = from;
    for (std::size_t i = 0; i < v_dim; ++i) into_values[i] = from_values[i];
    return;
  }
  const float max = std::fmax(into.max, from.max);
  const float a = std::exp(into.max - max), b = std::exp(from.max - max);
  into.sum = into.sum * a + from.sum * b;
  into.max = max;
  for (std::size_t i = 0; i < v_dim; ++i) into_values[i] = into_values[i] * a + from_values[i] * b;
}

// The attention output; zeros when nothing was seen. `sink`, if there is one, is a score that takes part in the softmax
// without a value. Returns the maximum and the sum of all that took part.
inline Partial finish_partial(Partial partial, const float* values, float* out, std::size_t v_dim,
                              const float* sink = nullptr) {
  const bool seen = !partial.empty();
  float factor = 1;
  if (seen && sink) {
    const float max = std::fmax(partial.max, *sink);
    factor = std::exp(partial.max - max);
    partial = {max, partial.sum * factor + std::exp(*sink - max)};
  }
  factor = seen ? factor / partial.sum : 0;
  for (std::size_t i = 0; i < v_dim; ++i) out[i] = seen ? values[i] * factor : 0;
  return partial;
}

}  // namespace lathe::kernels::cpu
