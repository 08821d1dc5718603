// Integer groups times 8-bit activations, one weight row per lane (bit_planes.h).
//
// Per 32 columns: sum += float(integer dot - zero point * sum of the input's integers) * (scale * input scale). One row
// and many take the same operations in the same order.
#include "kernels/cpu/int_group.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int_group_dot.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/chunk_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
IntKernel dot_kernel(int, IntGroupKind, Extension) { return {}; }
#else

// What a dot product of unpacked words has too little of every level.
template <int kBits>
constexpr int level_bias() {
  return kBits == 8 ? 128 : 0;
}

// Levels around zero, which is the upper one of the two in the middle; sums begin with what that takes out of them.
template <int kBits>
struct CentredLevels : Levels<kBits> {
  static constexpr int kZeroShift = kBits == 8 ? -1 : kBits - 1;
};

// As chunk_loop-inl.h takes a format.
template <int kBitsOfAll, IntGroupKind kKind>
class IntGroups {
 public:
  struct Grid {
    VF scale;
    VI zero;
  };
  static constexpr int kWidest = kBitsOfAll;
  static constexpr bool kAsPacked = true;
  // Whether zero lies in the middle between two levels.
  static constexpr bool kBetweenLevels =
      kKind == IntGroupKind::kBipolar || (kKind == IntGroupKind::kSymmetric && kWidest == 1);

  explicit IntGroups(const LaidOut& weight) : weight_(static_cast<const IntWeight&>(weight)) {}
  std::size_t chunks() const { return weight_.chunks; }

  template <class Body>
  HWY_INLINE void runs(std::size_t tile, const Body& body) const {
    constexpr std::size_t kChunkBytes = kLanes * kWidest * 4;
    const std::byte* planes = weight_.planes.get() + tile * weight_.chunks * kChunkBytes;
    for (std::size_t group = 0, chunk = 0; group < weight_.groups; ++group) {
      const std::size_t count = std::min(weight_.chunks - chunk, weight_.group_chunks);
      const Grid grid = load_grid((tile * weight_.groups + group) * kLanes);
      body(std::integral_constant<int, kWidest>(), grid, planes, count);
      chunk += count, planes += count * kChunkBytes;
    }
  }
  template <int kBits, bool kInPlace>
  HWY_INLINE void unpack(const std::byte* p, const Grid&, VI* words) const {
    unpack_chunk<kBits, kInPlace>(p, words);
  }
  template <int kBits, bool kVnni, bool kInPlace>
  HWY_INLINE VF add(VF acc, const VI* words, const Grid& grid, const std::int8_t* x, const Q8Meta& meta) const {
    if constexpr (kKind == IntGroupKind::kSymmetric && !kBetweenLevels && kWideDots<kVnni>) {
      return add_scaled(acc, dot_chunk<CentredLevels<kBits>, kVnni, kInPlace>(words, x, meta), grid, meta);
    } else {
      return add_dot<kBits>(acc, dot_chunk<Levels<kBits>, kVnni, kInPlace>(words, x, meta), grid, meta);
    }
  }
  template <int kBits>
  HWY_INLINE VF add_dot(VF acc, VI dot, const Grid& grid, const Q8Meta& meta) const {
    const DI di;
    if constexpr (kKind == IntGroupKind::kAsymmetric) {
      dot = hn::Add(dot, madd(grid.zero, hn::Set(di, meta.negated_sum & 0xffff)));
    } else if constexpr (kBetweenLevels) {
      constexpr int kTwiceZero = (1 << kBits) - 1 - 2 * level_bias<kBits>();
      dot = hn::Add(hn::Add(dot, dot), hn::Set(di, meta.negated_sum * kTwiceZero));
    } else {
      constexpr int kZero = (1 << (kBits - 1)) - level_bias<kBits>();
      if constexpr (kZero != 0) dot = hn::Add(dot, hn::Set(di, meta.negated_sum * kZero));
    }
    return add_scaled(acc, dot, grid, meta);
  }
  HWY_INLINE VF finish(std::size_t, VF acc) const { return acc; }

 private:
  static HWY_INLINE VF add_scaled(VF acc, VI dot, const Grid& grid, const Q8Meta& meta) {
    return hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(grid.scale, hn::Set(DF(), meta.scale)), acc);
  }
  HWY_INLINE Grid load_grid(std::size_t at) const {
    VF scale = load_halves(weight_.scales.data() + at);
    if constexpr (kKind == IntGroupKind::kAsymmetric) {
      return {scale, hn::Sub(load_bytes(weight_.zeros.data() + at), hn::Set(DI(), level_bias<kWidest>()))};
    }
    // Odd multiples of 1/2 are odd numbers times half the scale.
    if constexpr (kBetweenLevels) scale = hn::Mul(scale, hn::Set(DF(), 0.5f));
    return {scale, hn::Zero(DI())};
  }

  const IntWeight& weight_;
};

void lay_out_words(const PackedTensor& tensor, IntWeight& weight) {
  const BitPlanes planes =
      make_bit_planes(tensor.shape.rows(), tensor.shape.cols(), weight.bits, kLanes,
                      [&](std::size_t row, std::span<std::uint8_t> levels) { int_group_levels(tensor, row, levels); });
  weight.planes = planes.memory;
  weight.plane_bytes = planes.bytes;
}

template <int kBits>
MatmulFunction dot_function(IntGroupKind kind, Extension extension) {
  switch (kind) {
    case IntGroupKind::kSymmetric:
      return chunk_function<IntGroups<kBits, IntGroupKind::kSymmetric> >(extension);
    case IntGroupKind::kAsymmetric:
      return chunk_function<IntGroups<kBits, IntGroupKind::kAsymmetric> >(extension);
    case IntGroupKind::kBipolar:
      return chunk_function<IntGroups<kBits, IntGroupKind::kBipolar> >(extension);
  }
  return nullptr;
}

IntKernel dot_kernel(int bits, IntGroupKind kind, Extension extension) {
  using Choose = MatmulFunction (*)(IntGroupKind, Extension);
  static constexpr Choose kWidths[] = {dot_function<1>, dot_function<2>, dot_function<3>, dot_function<4>,
                                       dot_function<5>, dot_function<6>, dot_function<7>, dot_function<8>};
  return {kLanes, lay_out_words, kWidths[bits - 1](kind, extension)};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(dot_kernel);
IntKernel int_group_dot(const KernelSet& kernels, int bits, IntGroupKind kind) {
  return HWY_DISPATCH_TABLE(dot_kernel)[kernels.target_index](bits, kind, kernels.extension);
}
}  // namespace lathe::kernels::cpu
#endif
