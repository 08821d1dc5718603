// SLIM weights times 8-bit activations, one weight row per lane: the loop of chunk_loop-inl.h over runs of chunks that
// are as wide as their block, each unpacked by the code for its own width (Huang et al. 2024 give whole blocks one
// width for the sake of this).
//
// Per 32 columns: sum += (integer dot - zero point * sum of the input's integers) * (scale * input scale). What is in
// the first brackets is exact: multiples of 2^-7 below 2^17. So is any width's dot product in the widest one's code.
#include "kernels/cpu/slim.h"

#include "tensor/codecs/slim.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/slim.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/chunk_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel slim_kernel(int, Extension) { return {}; }
#else

namespace {

// As chunk_loop-inl.h takes a format. kMean: N, the average width.
template <int kMean>
class SlimBlocks {
 public:
  struct Grid {
    VF scale, zero;
  };
  static constexpr int kWidest = kMean + 1;
  static constexpr bool kAsPacked = true;

  explicit SlimBlocks(const LaidOut& weight) : weight_(static_cast<const SlimWeight&>(weight)) {}
  std::size_t chunks() const { return weight_.chunks; }

  template <class Body>
  HWY_INLINE void runs(std::size_t tile, const Body& body) const {
    const std::byte* levels = weight_.levels.get() + tile * weight_.tile_bytes;
    const std::size_t blocks = weight_.widths.size();
    for (std::size_t block = 0, chunk = 0; block < blocks; ++block) {
      const std::size_t count = std::min(weight_.chunks - chunk, weight_.block_chunks);
      const std::size_t at = (tile * blocks + block) * kLanes;
      const int width = weight_.widths[block];
      if (width == kMean) {
        run<kMean>(at, levels, count, body);
      } else if (width < kMean) {
        run<kMean - 1>(at, levels, count, body);
      } else {
        run<kMean + 1>(at, levels, count, body);
      }
      chunk += count, levels += count * kLanes * static_cast<std::size_t>(width) * 4;
    }
  }
  template <int kBits, bool kInPlace>
  HWY_INLINE void unpack(const std::byte* p, const Grid&, VI* words) const {
    unpack_chunk<kBits, kInPlace>(p, words);
  }
  template <int kBits, bool kVnni, bool kInPlace>
  HWY_INLINE VF add(VF acc, const VI* words, const Grid& grid, const std::int8_t* x, const Q8Meta& meta) const {
    return add_dot<kBits>(acc, dot_chunk<Levels<kBits>, kVnni, kInPlace>(words, x, meta), grid, meta);
  }
  template <int kBits>
  HWY_INLINE VF add_dot(VF acc, VI dot, const Grid& grid, const Q8Meta& meta) const {
    const DF d;
    const VF sum = hn::Set(d, static_cast<float>(meta.negated_sum));
    const VF product = hn::MulAdd(grid.zero, sum, hn::ConvertTo(d, dot));
    return hn::MulAdd(product, hn::Mul(grid.scale, hn::Set(d, meta.scale)), acc);
  }
  HWY_INLINE VF finish(std::size_t, VF acc) const { return acc; }

 private:
  template <int kBits, class Body>
  HWY_INLINE void run(std::size_t at, const std::byte* levels, std::size_t count, const Body& body) const {
    const VF units = hn::ConvertTo(DF(), load_bytes(weight_.zeros.data() + at));
    const Grid grid = {load_halves(weight_.scales.data() + at), hn::Mul(units, hn::Set(DF(), slim_zero_unit(kBits)))};
    body(std::integral_constant<int, kBits>(), grid, levels, count);
  }

  const SlimWeight& weight_;
};

}  // namespace

LaidOutKernel slim_kernel(int bits, Extension extension) {
  using Choose = MatmulFunction (*)(Extension);
  static_assert(kSlimLeastBits == 2 && kSlimMostBits == 6);
  static constexpr Choose kMeans[] = {chunk_function<SlimBlocks<2> >, chunk_function<SlimBlocks<3> >,
                                      chunk_function<SlimBlocks<4> >, chunk_function<SlimBlocks<5> >,
                                      chunk_function<SlimBlocks<6> >};
  return {kMeans[bits - kSlimLeastBits](extension), kLanes};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(slim_kernel);
std::optional<Matmul> slim_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (static_cast<std::size_t>(weight.params.group_size) % kIntChunk != 0) return std::nullopt;
  const LaidOutKernel kernel =
      HWY_DISPATCH_TABLE(slim_kernel)[kernels.target_index](weight.params.bits, kernels.extension);
  return laid_out_matmul("slim x q8", ActivationFormat::kQ8Block, kernel, weight, lay_out_slim);
}
}  // namespace lathe::kernels::cpu
#endif
