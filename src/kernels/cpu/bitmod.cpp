// BITMOD weights times 8-bit activations, one weight row per lane. A byte shuffle turns codes into values; the extra
// code, whose value differs from row to row, is a zero of the table to which the row's own value is added.
//
// Per 32 columns: sum += float(integer dot) * (scale * input scale); at the end, sum * factor. One row and many take
// the same operations in the same order.
#include "kernels/cpu/bitmod.h"

#include "tensor/codecs/bitmod.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bitmod.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/chunk_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel bitmod_kernel(int, Extension) { return {}; }
#else

namespace {

// Values as dot_run takes the weights of a codec: unsigned, 2^kZeroShift too large.
template <int kBits>
struct Values {
  static constexpr int kGroup = 0, kZeroShift = kBits == 3 ? 3 : 4, kLargest = kBits == 3 ? 14 : 32;
  static constexpr bool kSigned = false;
  alignas(16) static constexpr std::array<std::uint8_t, 16> kTable = [] {
    std::array<std::uint8_t, 16> table{};
    for (int code = 0; code < 1 << kBits; ++code) {
      table[static_cast<std::size_t>(code)] =
          static_cast<std::uint8_t>((1 << kZeroShift) + bitmod_common_value(kBits, code));
    }
    return table;
  }();
};

// As chunk_loop-inl.h takes a format.
template <int kBitsOfAll>
class BitmodGroups {
 public:
  struct Grid {
    VF scale;
    VI extra;  // in every byte
  };
  static constexpr int kWidest = kBitsOfAll;
  static constexpr bool kAsPacked = false;

  explicit BitmodGroups(const LaidOut& weight) : weight_(static_cast<const BitmodWeight&>(weight)) {}
  std::size_t chunks() const { return weight_.codes.chunks; }

  template <class Body>
  HWY_INLINE void runs(std::size_t tile, const Body& body) const {
    constexpr std::size_t kChunkBytes = kLanes * kWidest * 4;
    const std::byte* codes = weight_.codes.memory.get() + tile * chunks() * kChunkBytes;
    for (std::size_t group = 0, chunk = 0; group < weight_.groups; ++group) {
      const std::size_t count = std::min(chunks() - chunk, weight_.group_chunks);
      const std::size_t at = (tile * weight_.groups + group) * kLanes;
      const Grid grid = {hn::ConvertTo(DF(), load_bytes(weight_.scales.data() + at)),
                         hn::Mul(load_bytes(weight_.extras.data() + at), hn::Set(DI(), 0x01010101))};
      body(std::integral_constant<int, kWidest>(), grid, codes, count);
      chunk += count, codes += count * kChunkBytes;
    }
  }
  template <int kBits, bool>
  HWY_INLINE void unpack(const std::byte* p, const Grid& grid, VI* words) const {
    const hn::Repartition<std::uint8_t, DI> d8;
    unpack_chunk<kBits>(p, words);
    const auto table = hn::LoadDup128(d8, Values<kBits>::kTable.data());
    const auto extra_code = hn::Set(d8, static_cast<std::uint8_t>(bitmod_extra_code(kBits)));
    for (int i = 0; i < kChunkWords; ++i) {
      const auto code = hn::BitCast(d8, words[i]);
      const auto more = hn::IfThenElseZero(hn::Eq(code, extra_code), hn::BitCast(d8, grid.extra));
      words[i] = hn::BitCast(DI(), hn::Add(hn::TableLookupBytes(table, code), more));
    }
  }
  template <int kBits, bool kVnni, bool>
  HWY_INLINE VF add(VF acc, const VI* words, const Grid& grid, const std::int8_t* x, const Q8Meta& meta) const {
    const VI dot = dot_chunk<Values<kBits>, kVnni>(words, x, meta);
    return hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(grid.scale, hn::Set(DF(), meta.scale)), acc);
  }
  template <int kBits>
  HWY_INLINE VF add_dot(VF acc, VI dot, const Grid& grid, const Q8Meta& meta) const {
    dot = hn::Add(dot, hn::Set(DI(), meta.negated_sum * (1 << Values<kBits>::kZeroShift)));
    return hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(grid.scale, hn::Set(DF(), meta.scale)), acc);
  }
  HWY_INLINE VF finish(std::size_t tile, VF acc) const {
    return hn::Mul(acc, load_halves(weight_.factors.data() + tile * kLanes));
  }

 private:
  const BitmodWeight& weight_;
};

}  // namespace

LaidOutKernel bitmod_kernel(int bits, Extension extension) {
  return {bits == 3 ? chunk_function<BitmodGroups<3> >(extension) : chunk_function<BitmodGroups<4> >(extension),
          kLanes};
}

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(bitmod_kernel);
std::optional<Matmul> bitmod_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (static_cast<std::size_t>(weight.params.group_size) % kIntChunk != 0) return std::nullopt;
  const LaidOutKernel kernel =
      HWY_DISPATCH_TABLE(bitmod_kernel)[kernels.target_index](weight.params.bits, kernels.extension);
  return laid_out_matmul("bitmod x q8", ActivationFormat::kQ8Block, kernel, weight, lay_out_bitmod);
}
}  // namespace lathe::kernels::cpu
#endif
