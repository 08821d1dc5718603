// AMX's products of 8-bit matrices, whose registers ("tiles") hold 16 rows of 64 bytes: 16 rows of input times 16 rows
// of weights at once, in the layout that the other kernels read too (a row of a weight register is one word of 4
// columns of every weight row). Integers only, so that the results are those of every other instruction set.
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/dot8-inl.h"

#if defined(LATHE_KERNELS_CPU_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_AMX_INL_H_
#undef LATHE_KERNELS_CPU_AMX_INL_H_
#else
#define LATHE_KERNELS_CPU_AMX_INL_H_
#endif

#if HWY_TARGET == HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

inline constexpr std::size_t kAmxRows = 16;  // of input

// The shapes of the registers while it lives: sums of kAmxRows rows in tmm0 and of `rest` rows in tmm3, the input in
// tmm1 and tmm4, weights in tmm2. The thread's registers are given up at the end, or the system would go on saving
// them.
class AmxShapes {
 public:
  AmxShapes(std::size_t words, std::size_t rest) {
    const auto shape = [&](int tile, std::size_t rows, std::size_t bytes) {
      config_.rows[tile] = static_cast<std::uint8_t>(rows), config_.bytes[tile] = static_cast<std::uint16_t>(bytes);
    };
    shape(0, kAmxRows, 64), shape(1, kAmxRows, 4 * words), shape(2, words, 64);
    if (rest > 0) shape(3, rest, 64), shape(4, rest, 4 * words);
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

// sums [row][lane] = unsigned weights [word][lane] times as many words of signed input [row][stride bytes], for
// kAmxRows rows or, kRest, for the others.
template <bool kRest>
HWY_INLINE void amx_dot(const void* weights, const std::int8_t* x, std::size_t stride, std::int32_t* sums) {
  if constexpr (!kRest) {
    asm volatile(
        "tilezero %%tmm0\n\ttileloadd (%0,%3,1), %%tmm2\n\ttileloadd (%1,%4,1), %%tmm1\n\t"
        "tdpbsud %%tmm2, %%tmm1, %%tmm0\n\ttilestored %%tmm0, (%2,%3,1)" ::"r"(weights),
        "r"(x), "r"(sums), "r"(std::size_t{64}), "r"(stride)
        : "memory");
  } else {
    asm volatile(
        "tilezero %%tmm3\n\ttileloadd (%0,%3,1), %%tmm2\n\ttileloadd (%1,%4,1), %%tmm4\n\t"
        "tdpbsud %%tmm2, %%tmm4, %%tmm3\n\ttilestored %%tmm3, (%2,%3,1)" ::"r"(weights),
        "r"(x), "r"(sums), "r"(std::size_t{64}), "r"(stride)
        : "memory");
  }
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3_DL
#endif  // per-target include guard
