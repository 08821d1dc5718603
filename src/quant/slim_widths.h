// Which blocks of columns get a bit more and which a bit less: salience-determined bit allocation (Huang et al. 2024,
// "SliM-LLM").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quant/hessian.h"
#include "tensor/codec.h"

namespace lathe::quant {

// What rounding a weight costs: w^2 / pivot^2 (definition 3.1), its salience.
inline float salience_of(float weight, float pivot) { return weight * weight / (pivot * pivot); }

// The sums of salience over all rows of every whole block of params.group_size columns; a short last block has none.
// weight: [rows, n], n the Hessian's columns, which must be in their own order.
std::vector<double> block_saliences(const std::vector<float>& weight, const Hessian& hessian,
                                    const CodecParams& params);

// How far the outputs of a linear move when blocks of its weight are rounded to given widths, each to the nearest level
// of the grids that the SLIM codec fits: the Kullback-Leibler divergence KL(rounded || original) between the softmaxes
// over the output features, averaged over tokens of its input.
class OutputDivergence {
 public:
  // weight: [rows, n]; sample: [tokens, n]; importance: [n], of squared errors for the grids. All but `sample` must
  // outlive it. Begins with `widths`, one per block.
  OutputDivergence(const std::vector<float>& weight, std::span<const float> importance, const CodecParams& params,
                   std::span<const float> sample, std::vector<std::uint8_t> widths, ThreadPool& pool);
  void set_width(std::size_t block, std::uint8_t width);
  double mean() const;

 private:
  // Adds to outputs_ what `block` has more at width `to` than at width `from`; 0 stands for not rounded.
  void move(std::size_t block, int from, int to);

  const std::vector<float>& weight_;
  std::span<const float> importance_;
  std::size_t columns_, rows_, group_, tokens_;
  std::vector<std::uint8_t> widths_;
  ThreadPool& pool_;
  // Strips of kStripRows tokens (column_walk.h): inputs [strip][n][.], outputs [strip][rows][.].
  std::vector<float> inputs_, outputs_, original_;
};

// Widths whose average is params.bits, one per block: of the maps that give i least salient blocks a bit less and the i
// most salient ones a bit more, 0 <= i < blocks / 2, the one whose outputs diverge least. (The paper begins with i
// = 1.) All equal where there are fewer than 4 whole blocks, or all are as salient as each other.
std::vector<std::uint8_t> choose_widths(const std::vector<float>& weight, const Hessian& hessian,
                                        const CodecParams& params, std::span<const float> sample, ThreadPool& pool);

inline constexpr std::size_t kLeastMixedBlocks = 4;

}  // namespace lathe::quant
