// DB-LLM's planes and scales against plain least squares.
#include <gtest/gtest.h>

#include "base/half.h"
#include "quant/inverse.h"
#include "quant/layer.h"
#include "tensor/codecs/fdb_fit.h"

namespace lathe::quant {
namespace {

Target fdb_target(int group) { return {&codec_named("FDB"), {2, group}}; }

std::vector<std::string> linears_of(const LayerWork& work) {
  std::vector<std::string> names;
  for (const Linears& linears : work.linears_by_input()) names.insert(names.end(), linears.begin(), linears.end());
  return names;
}

// For the planes that were chosen, no scales have a smaller error at the output: the equations of every row, solved by
// inverting them.
TEST(DbLlm, ScalesAreTheLeastSquaresSolution) {
  constexpr int kGroup = 32;
  Layer layer(test::tiny_llama(), fdb_target(kGroup), 3);
  db_llm_method().quantize(layer.work);
  for (const std::string& linear : linears_of(layer.work)) {
    const PackedTensor& packed = layer.work.packed.at(linear + ".weight");
    const std::vector<float>& original = layer.model.decoded.at(linear + ".weight");
    const InputStatistics& input = layer.work.input_of(linear);
    const std::size_t cols = input.columns(), groups = int_groups(packed.params, cols), n = 2 * groups;
    double mean = 0;
    for (std::size_t i = 0; i < cols; ++i) mean += input.gram[i * cols + i] / static_cast<double>(cols);
    const auto h = [&](std::size_t a, std::size_t b) { return input.gram[a * cols + b] + (a == b ? 0.01 * mean : 0); };
    for (std::size_t row = 0; row < 4; ++row) {
      std::vector<std::uint8_t> codes(cols);
      std::vector<FdbGrid> grids(groups);
      fdb_codes(packed, row, codes);
      fdb_grids(packed, row, grids);
      const auto has = [&](std::size_t unknown, std::size_t c) {
        return c / kGroup == unknown / 2 && (codes[c] >> unknown % 2 & 1) != 0;
      };
      std::vector<double> matrix(n * n), right(n);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t a = 0; a < cols; ++a) {
          if (!has(i, a)) continue;
          for (std::size_t b = 0; b < cols; ++b) {
            right[i] += h(a, b) * original[row * cols + b];
            for (std::size_t j = 0; j < n; ++j) matrix[i * n + j] += has(j, b) ? h(a, b) : 0;
          }
        }
        if (matrix[i * n + i] == 0) matrix[i * n + i] = 1;
      }
      const std::vector<double> inverse = inverse_of(matrix, n);
      for (std::size_t i = 0; i < n; ++i) {
        double expected = 0;
        for (std::size_t j = 0; j < n; ++j) expected += inverse[i * n + j] * right[j];
        const float got = i % 2 == 0 ? grids[i / 2].first : grids[i / 2].second;
        bool empty = true;
        for (std::size_t c = 0; c < cols; ++c) empty = empty && !has(i, c);
        if (empty) continue;
        EXPECT_NEAR(got, expected, 2e-3 * (std::abs(expected) + 0.01)) << linear << ", " << row << ", " << i;
      }
    }
  }
}

TEST(DbLlm, BeatsRoundingAndTwoBitIntegersAtTheOutput) {
  Layer layer(test::tiny_llama(), fdb_target(32), 5), rounded(test::tiny_llama(), fdb_target(32), 5),
      integers(test::tiny_llama(), int_target("INT_SYM", 2, 32), 5);
  db_llm_method().quantize(layer.work);
  rtn_method().quantize(rounded.work);
  gptq_method().quantize(integers.work);
  double ours = 0, rtn = 0, gptq = 0;
  for (const std::string& linear : linears_of(layer.work)) {
    ours += layer.output_error(linear), rtn += rounded.output_error(linear), gptq += integers.output_error(linear);
  }
  EXPECT_LT(ours, 0.8 * rtn);
  EXPECT_LT(ours, gptq);
}

TEST(DbLlm, TargetsOnlyItsOwnCodec) {
  EXPECT_TRUE(db_llm_method().can_target(fdb_target(64)));
  EXPECT_FALSE(db_llm_method().can_target(int_target("INT_SYM", 2, 64)));
}

}  // namespace
}  // namespace lathe::quant
