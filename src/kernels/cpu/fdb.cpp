// Dual binary weights times 8-bit activations, one weight row per lane (chunk_loop-inl.h). A code is b1 + 2 b2, so with
// the integer dot products of the codes and of their second bits alone,
//   first * sum(b1 x) + second * sum(b2 x) = first * sum(code x) + (second / 2 - first) * sum(2 b2 x).
#include "kernels/cpu/fdb.h"

#include "base/half.h"
#include "tensor/codecs/fdb.h"
#include "tensor/codecs/int_group.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fdb.cpp"
#include "hwy/foreach_target.h"
//
#include "kernels/cpu/chunk_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
LaidOutKernel fdb_kernel(Extension) { return {}; }
#else

namespace {

// As chunk_loop-inl.h takes a format.
class FdbGroups {
 public:
  struct Grid {
    VF code, second_bit;  // factors of the two dot products
  };
  static constexpr int kWidest = 2;
  static constexpr bool kAsPacked = false;

  explicit FdbGroups(const LaidOut& weight) : weight_(static_cast<const FdbWeight&>(weight)) {}
  std::size_t chunks() const { return weight_.codes.chunks; }

  template <class Body>
  HWY_INLINE void runs(std::size_t tile, const Body& body) const {
    constexpr std::size_t kChunkBytes = kLanes * kWidest * 4;
    const std::byte* codes = weight_.codes.memory.get() + tile * chunks() * kChunkBytes;
    for (std::size_t group = 0, chunk = 0; group < weight_.groups; ++group) {
      const std::size_t count = std::min(chunks() - chunk, weight_.group_chunks);
      const std::size_t at = (tile * weight_.groups + group) * kLanes;
      const VF first = load_halves(weight_.first.data() + at), second = load_halves(weight_.second.data() + at);
      const Grid grid = {first, hn::MulSub(second, hn::Set(DF(), 0.5f), first)};
      body(std::integral_constant<int, kWidest>(), grid, codes, count);
      chunk += count, codes += count * kChunkBytes;
    }
  }
  template <int kBits, bool>
  HWY_INLINE void unpack(const std::byte* p, const Grid&, VI* words) const {
    unpack_chunk<kBits>(p, words);
  }
  template <int kBits, bool kVnni, bool>
  HWY_INLINE VF add(VF acc, const VI* words, const Grid& grid, const std::int8_t* x, const Q8Meta& meta) const {
    const DF d;
    const VI second_bits = hn::Set(DI(), 0x02020202);
    VI second[kChunkWords];
    for (int i = 0; i < kChunkWords; ++i) second[i] = hn::And(words[i], second_bits);
    const VF scale = hn::Set(d, meta.scale);
    const VF code_dot = hn::ConvertTo(d, dot_chunk<Levels<kBits>, kVnni>(words, x, meta));
    const VF second_dot = hn::ConvertTo(d, dot_chunk<Levels<kBits>, kVnni>(second, x, meta));
    return hn::MulAdd(hn::MulAdd(code_dot, grid.code, hn::Mul(second_dot, grid.second_bit)), scale, acc);
  }
  HWY_INLINE VF finish(std::size_t, VF acc) const { return acc; }

 private:
  const FdbWeight& weight_;
};

}  // namespace

LaidOutKernel fdb_kernel(Extension extension) { return {chunk_function<FdbGroups>(extension), kLanes}; }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(fdb_kernel);

namespace {

FdbWeight lay_out_fdb(const PackedTensor& weight, std::size_t tile_rows) {
  const std::size_t rows = weight.shape.rows(), cols = weight.shape.cols();
  const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
  FdbWeight out;
  out.codes = make_bit_planes(rows, cols, weight.params.bits, tile_rows,
                              [&](std::size_t row, std::span<std::uint8_t> codes) { fdb_codes(weight, row, codes); });
  out.groups = int_groups(weight.params, cols);
  out.group_chunks = out.groups == 1 ? out.codes.chunks : int_group_columns(weight.params, cols) / kIntChunk;
  out.first.resize(tiles * out.groups * tile_rows);
  out.second.resize(out.first.size());
  std::vector<FdbGrid> grids(out.groups);
  for (std::size_t row = 0; row < rows; ++row) {
    fdb_grids(weight, row, grids);
    for (std::size_t g = 0; g < out.groups; ++g) {
      const std::size_t at = (row / tile_rows * out.groups + g) * tile_rows + row % tile_rows;
      out.first[at] = half_from_float(grids[g].first);
      out.second[at] = half_from_float(grids[g].second);
    }
  }
  return out;
}

}  // namespace

std::optional<Matmul> fdb_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  const std::size_t cols = weight.shape.cols();
  if (int_groups(weight.params, cols) > 1 && int_group_columns(weight.params, cols) % kIntChunk != 0) {
    return std::nullopt;
  }
  const LaidOutKernel kernel = HWY_DISPATCH_TABLE(fdb_kernel)[kernels.target_index](kernels.extension);
  return laid_out_matmul("fdb x q8", ActivationFormat::kQ8Block, kernel, weight, lay_out_fdb);
}
}  // namespace lathe::kernels::cpu
#endif
