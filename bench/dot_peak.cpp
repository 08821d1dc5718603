#include "dot_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dot_peak.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/amx-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

using Turns = std::int32_t (*)(std::size_t turns);
constexpr std::size_t kChains = 8;  // sums that do not wait for each other

#if HWY_TARGET == HWY_SCALAR
Turns dot_turns(Extension) { return nullptr; }
std::size_t dots_of_turn(Extension) { return 0; }
#else

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_INLINE VI narrow_dot(VI sum, VI w, const std::int8_t* x) { return add16(sum, pairs<false>(w, broadcast4(x))); }
HWY_INLINE VI unknown(VI w) { return in_order(w); }  // or products with it would be made once
#else
VI narrow_dot(VI sum, VI w, const std::int8_t* x);  // never called
HWY_INLINE VI unknown(VI w) { return w; }
#endif

template <bool kVnni>
std::int32_t turns_of(std::size_t turns) {
  alignas(64) std::int8_t x[4 * kChains];
  std::fill(std::begin(x), std::end(x), std::int8_t{1});
  asm volatile("" : : "r"(x) : "memory");  // what they are is not known any more, nor that they are the same
  VI sums[kChains];
  for (VI& sum : sums) sum = hn::Zero(DI());
  VI w = hn::Set(DI(), 0x01010101);
  for (std::size_t turn = 0; turn < turns; ++turn) {
    w = unknown(w);
    for (std::size_t i = 0; i < kChains; ++i) {
      if constexpr (kWideDots<kVnni>) {
        sums[i] = dot4<false>(sums[i], w, x + 4 * i);
      } else {
        sums[i] = narrow_dot(sums[i], w, x + 4 * i);
      }
    }
  }
  VI all = sums[0];
  for (std::size_t i = 1; i < kChains; ++i) all = hn::Add(all, sums[i]);
  return hn::GetLane(all);
}

#if HWY_TARGET == HWY_AVX3_DL
// Matrices of 16 rows of 64 bytes, four sums in turn.
std::int32_t amx_turns(std::size_t turns) {
  const AmxShapes shapes(16, 0);
  asm volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm4" ::);
  for (std::size_t turn = 0; turn < turns; ++turn) {
    asm volatile(
        "tdpbssd %%tmm5, %%tmm3, %%tmm0\n\ttdpbssd %%tmm5, %%tmm3, %%tmm1\n\t"
        "tdpbssd %%tmm5, %%tmm3, %%tmm2\n\ttdpbssd %%tmm5, %%tmm3, %%tmm4" ::);
  }
  return 0;
}
#else
std::int32_t amx_turns(std::size_t turns);  // never called
#endif

Turns dot_turns(Extension extension) {
  if constexpr (HWY_TARGET == HWY_AVX3_DL) {
    if (extension == Extension::kAmx) return amx_turns;
  }
  return extension == Extension::kAvxVnni ? turns_of<HWY_TARGET == HWY_AVX2> : turns_of<false>;
}

// Multiply-adds of one turn.
std::size_t dots_of_turn(Extension extension) {
  return extension == Extension::kAmx ? 4 * 16 * 16 * 64 : kChains * kLanes * 4;
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels {
namespace cpu {
HWY_EXPORT(dot_turns);
HWY_EXPORT(dots_of_turn);
}  // namespace cpu

double dot_peak(const std::string& kernel, int threads) {
  const cpu::KernelSet set = cpu::select_kernels(kernel);
  if (set.scalar) return 0;
  const auto turns = cpu::HWY_DISPATCH_TABLE(dot_turns)[set.target_index](set.extension);
  const auto dots = static_cast<double>(cpu::HWY_DISPATCH_TABLE(dots_of_turn)[set.target_index](set.extension));
  constexpr std::size_t kTurns = std::size_t{1} << 18, kPieces = 64;
  ThreadPool pool(threads);
  std::atomic<std::int32_t> sink{0};
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.parallel_for(kPieces, 1, [&](std::size_t, std::size_t, int) { sink += turns(kTurns); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, dots * kTurns * kPieces / seconds.count());
  }
  return best;
}

}  // namespace lathe::kernels
#endif
