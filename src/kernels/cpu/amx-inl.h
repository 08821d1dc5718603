// AMX's products of 8-bit matrices, whose registers ("tiles") hold 16 rows of 64 bytes: 16 rows of input times 16 rows
// of weights at once, in the layout that the other kernels read too (a row of a weight register is one word of 4
// columns of every weight row). Integers only, so that the results are those of every other instruction set.
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/dot8-inl.h"
#include "kernels/cpu/q8_input.h"

#if defined(LATHE_KERNELS_CPU_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_AMX_INL_H_
#undef LATHE_KERNELS_CPU_AMX_INL_H_
#else
#define LATHE_KERNELS_CPU_AMX_INL_H_
#endif

#if HWY_TARGET == HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// The shapes of the registers while it lives: sums of 16 rows in tmm0 and tmm1, their input in tmm2 and tmm3, weights
// in tmm4 and tmm5, sums and input of `rest` rows in tmm6 and tmm7. The thread's registers are given up at the end, or
// the system would go on saving them.
class AmxShapes {
 public:
  AmxShapes(std::size_t words, std::size_t rest) {
    const auto shape = [&](int tile, std::size_t rows, std::size_t bytes) {
      config_.rows[tile] = static_cast<std::uint8_t>(rows), config_.bytes[tile] = static_cast<std::uint16_t>(bytes);
    };
    for (const int sums : {0, 1}) shape(sums, kAmxRows, 64);
    for (const int input : {2, 3}) shape(input, kAmxRows, 4 * words);
    for (const int weights : {4, 5}) shape(weights, words, 64);
    if (rest > 0) shape(6, rest, 64), shape(7, rest, 4 * words);
    asm volatile("ldtilecfg %0" ::"m"(config_));
  }
  ~AmxShapes() { asm volatile("tilerelease"); }
  AmxShapes(const AmxShapes&) = delete;
  AmxShapes& operator=(const AmxShapes&) = delete;

 private:
  struct alignas(64) Config {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {};  // of a row
    std::uint8_t rows[16] = {};
  } config_;
};

// sums [16 rows][lane] = signed weights [word][lane] times as many words of signed input [16 rows][kQ8Block], for two
// groups of columns at once, since one has to wait for its registers,
HWY_INLINE void amx_two_dots(const VI* weights, const VI* more_weights, const std::int8_t* x, const std::int8_t* more_x,
                             std::int32_t* sums, std::int32_t* more_sums) {
  asm volatile(
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\t"
      "tileloadd (%0,%6,1), %%tmm4\n\ttileloadd (%2,%7,1), %%tmm2\n\t"
      "tileloadd (%1,%6,1), %%tmm5\n\ttileloadd (%3,%7,1), %%tmm3\n\t"
      "tdpbssd %%tmm4, %%tmm2, %%tmm0\n\ttdpbssd %%tmm5, %%tmm3, %%tmm1\n\t"
      "tilestored %%tmm0, (%4,%6,1)\n\ttilestored %%tmm1, (%5,%6,1)" ::"r"(weights),
      "r"(more_weights), "r"(x), "r"(more_x), "r"(sums), "r"(more_sums), "r"(std::size_t{64}), "r"(kQ8Block)
      : "memory");
}
// for one of them, and, kRest, for one with the last rows.
template <bool kRest>
HWY_INLINE void amx_dot(const VI* weights, const std::int8_t* x, std::int32_t* sums) {
#define LATHE_AMX_DOT(sum, input)                                                                        \
  asm volatile("tilezero " sum "\n\ttileloadd (%0,%3,1), %%tmm4\n\ttileloadd (%1,%4,1), " input          \
               "\n\ttdpbssd %%tmm4, " input ", " sum "\n\ttilestored " sum ", (%2,%3,1)" ::"r"(weights), \
               "r"(x), "r"(sums), "r"(std::size_t{64}), "r"(kQ8Block)                                    \
               : "memory")
  if constexpr (kRest) {
    LATHE_AMX_DOT("%%tmm6", "%%tmm7");
  } else {
    LATHE_AMX_DOT("%%tmm0", "%%tmm2");
  }
#undef LATHE_AMX_DOT
}

// Of `groups` groups of columns, with at most 16 rows: words_of(group) are its weights, x_of(group) its first row, and
// products [group][16 rows][lane] the sums.
template <class WordsOf, class InputOf>
HWY_INLINE void amx_dots(std::size_t groups, std::size_t rows, const WordsOf& words_of, const InputOf& x_of,
                         std::int32_t* products) {
  constexpr std::size_t kSums = kAmxRows * kLanes;
  std::size_t group = 0;
  for (; rows < kAmxRows && group < groups; ++group) {
    amx_dot<true>(words_of(group), x_of(group), products + group * kSums);
  }
  for (; group + 2 <= groups; group += 2) {
    amx_two_dots(words_of(group), words_of(group + 1), x_of(group), x_of(group + 1), products + group * kSums,
                 products + (group + 1) * kSums);
  }
  if (group < groups) amx_dot<false>(words_of(group), x_of(group), products + group * kSums);
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3_DL
#endif  // per-target include guard
