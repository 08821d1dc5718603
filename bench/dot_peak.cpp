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
#include "kernels/cpu/dot8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

using Turns = std::int32_t (*)(std::size_t turns);
constexpr std::size_t kChains = 8;  // sums that do not wait for each other

#if HWY_TARGET == HWY_SCALAR
Turns dot_turns(bool) { return nullptr; }
std::size_t dots_of_turn() { return 0; }
#else

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_INLINE VI narrow_dot(VI sum, VI w, const std::int8_t* x) { return add16(sum, pairs<false>(w, broadcast4(x))); }
#else
VI narrow_dot(VI sum, VI w, const std::int8_t* x);  // never called
#endif

template <bool kVnni>
std::int32_t turns_of(std::size_t turns) {
  alignas(64) std::int8_t x[4 * kChains];
  std::fill(std::begin(x), std::end(x), std::int8_t{1});
  VI sums[kChains];
  for (VI& sum : sums) sum = hn::Zero(DI());
  const VI w = hn::Set(DI(), 0x01010101);
  for (std::size_t turn = 0; turn < turns; ++turn) {
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

Turns dot_turns(bool vnni) { return vnni ? turns_of<HWY_TARGET == HWY_AVX2> : turns_of<false>; }

// Multiply-adds of one turn.
std::size_t dots_of_turn() { return kChains * kLanes * 4; }

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
  const auto turns = cpu::HWY_DISPATCH_TABLE(dot_turns)[set.target_index](set.vnni());
  const auto dots = static_cast<double>(cpu::HWY_DISPATCH_TABLE(dots_of_turn)[set.target_index]());
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
