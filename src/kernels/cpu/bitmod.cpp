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
#include "kernels/cpu/bit_planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
MatmulFunction bitmod_function(int, bool) { return nullptr; }
std::size_t bitmod_tile_rows() { return 0; }
#else

namespace {

constexpr std::size_t kStepChunks = 8;

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

struct LaneGroup {
  VF scale;
  VI extra;  // in every byte
};

HWY_INLINE LaneGroup load_group(const BitmodWeight& weight, std::size_t at) {
  const DI di;
  const hn::Rebind<std::uint8_t, DI> d8;
  const auto bytes = [&](const void* p)
                         HWY_ATTR { return hn::PromoteTo(di, hn::LoadU(d8, static_cast<const std::uint8_t*>(p))); };
  return {hn::ConvertTo(DF(), bytes(weight.scales.data() + at)),
          hn::Mul(bytes(weight.extras.data() + at), hn::Set(di, 0x01010101))};
}

template <int kBits>
HWY_INLINE void unpack(const std::byte* codes, const LaneGroup& group, VI* words) {
  const hn::Repartition<std::uint8_t, DI> d8;
  prefetch_chunk<kBits>(codes);
  unpack_chunk<kBits>(codes, words);
  const auto table = hn::LoadDup128(d8, Values<kBits>::kTable.data());
  const auto extra_code = hn::Set(d8, static_cast<std::uint8_t>(bitmod_extra_code(kBits)));
  for (int i = 0; i < kChunkWords; ++i) {
    const auto code = hn::BitCast(d8, words[i]);
    const auto more = hn::IfThenElseZero(hn::Eq(code, extra_code), hn::BitCast(d8, group.extra));
    words[i] = hn::BitCast(DI(), hn::Add(hn::TableLookupBytes(table, code), more));
  }
}

template <int kBits, bool kVnni>
HWY_INLINE VF add_chunk(VF acc, const VI* words, const VF scale, const std::int8_t* x, const Q8Meta& meta) {
  const Q8Meta* chunk_meta = &meta;
  VI dot;
  dot_run<Values<kBits>, kVnni, 1>(words, RunScales<Values<kBits> >(), &x, &chunk_meta, &dot);
  return hn::MulAdd(hn::ConvertTo(DF(), dot), hn::Mul(scale, hn::Set(DF(), meta.scale)), acc);
}

template <int kBits, bool kVnni>
void multiply(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const DF d;
  const auto& weight = static_cast<const BitmodWeight&>(*job.laid_out);
  constexpr std::size_t kChunkBytes = kLanes * kBits * 4;
  const std::size_t chunks = weight.codes.chunks, columns = chunks * kIntChunk;
  float* sums = scratch.get<float>(job.rows * kLanes);
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t tile = feature / kLanes, valid = std::min(kLanes, end - feature);
    const std::byte* codes = weight.codes.memory.get() + tile * chunks * kChunkBytes;
    const auto factors = reinterpret_cast<const hwy::float16_t*>(weight.factors.data()) + tile * kLanes;
    const VF factor = hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::float16_t, DF>(), factors));
    const auto group_of = [&](std::size_t chunk) HWY_ATTR {
      return load_group(weight, (tile * weight.groups + chunk / weight.group_chunks) * kLanes);
    };
    if (job.rows == 1) {
      VF acc = hn::Zero(d);
      for (std::size_t chunk = 0; chunk < chunks;) {
        const LaneGroup group = group_of(chunk);
        const std::size_t last = std::min(chunks, (chunk / weight.group_chunks + 1) * weight.group_chunks);
        for (; chunk < last; ++chunk, codes += kChunkBytes) {
          VI words[kChunkWords];
          unpack<kBits>(codes, group, words);
          acc = add_chunk<kBits, kVnni>(acc, words, group.scale, job.q8.values + chunk * kIntChunk, job.q8.meta[chunk]);
        }
      }
      store_outputs(job, 0, feature, valid, hn::Mul(acc, factor));
      continue;
    }
    std::fill(sums, sums + job.rows * kLanes, 0.0f);
    alignas(64) VI words[kStepChunks * kChunkWords];
    VF scales[kStepChunks];
    for (std::size_t chunk = 0; chunk < chunks; chunk += kStepChunks) {
      const std::size_t step = std::min(kStepChunks, chunks - chunk);
      for (std::size_t i = 0; i < step; ++i, codes += kChunkBytes) {
        const LaneGroup group = group_of(chunk + i);
        unpack<kBits>(codes, group, words + i * kChunkWords);
        scales[i] = group.scale;
      }
      for (std::size_t row = 0; row < job.rows; ++row) {
        const std::int8_t* x = job.q8.values + row * columns + chunk * kIntChunk;
        const Q8Meta* meta = job.q8.meta + row * chunks + chunk;
        VF acc = hn::LoadU(d, sums + row * kLanes);
        for (std::size_t i = 0; i < step; ++i) {
          acc = add_chunk<kBits, kVnni>(acc, words + i * kChunkWords, scales[i], x + i * kIntChunk, meta[i]);
        }
        hn::StoreU(acc, d, sums + row * kLanes);
      }
    }
    for (std::size_t r = 0; r < job.rows; ++r) {
      store_outputs(job, r, feature, valid, hn::Mul(hn::LoadU(d, sums + r * kLanes), factor));
    }
  }
}

template <int kBits>
MatmulFunction function_of_width(bool vnni) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (vnni) return multiply<kBits, true>;
  }
  return multiply<kBits, false>;
}

}  // namespace

MatmulFunction bitmod_function(int bits, bool vnni) {
  return bits == 3 ? function_of_width<3>(vnni) : function_of_width<4>(vnni);
}
std::size_t bitmod_tile_rows() { return kLanes; }

#endif

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::kernels::cpu {
HWY_EXPORT(bitmod_function);
HWY_EXPORT(bitmod_tile_rows);
std::optional<Matmul> bitmod_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  if (static_cast<std::size_t>(weight.params.group_size) % kIntChunk != 0) return std::nullopt;
  const MatmulFunction run =
      HWY_DISPATCH_TABLE(bitmod_function)[kernels.target_index](weight.params.bits, kernels.vnni);
  if (run == nullptr) return std::nullopt;
  const std::size_t tile_rows = HWY_DISPATCH_TABLE(bitmod_tile_rows)[kernels.target_index]();
  Matmul matmul{"bitmod x q8", ActivationFormat::kQ8Block, {run, {}}};
  matmul.tile_rows = tile_rows;
  matmul.laid_out = std::make_shared<BitmodWeight>(lay_out_bitmod(weight, tile_rows));
  return matmul;
}
}  // namespace lathe::kernels::cpu
#endif
