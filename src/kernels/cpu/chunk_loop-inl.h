// The loop over tiles, chunks of 32 columns and rows of input that kernels of packed integers share (bit_planes.h): one
// row of input keeps unpacked weights in registers, more rows unpack 8 chunks at a time into the first-level cache.
// Both take the same operations in the same order for every pair (weight row, input row).
//
// A format is a class with
//   Grid                                     what the integers of a chunk mean, in every lane
//   kWidest                                  bits of the widest chunk
//   Format(job.laid_out)                     and chunks(), of a row of weights
//   void runs(tile, body)                    calls body(bits, grid, bytes, count) for each run of `count` chunks of one
//                                            width and grid, by column; bits is a std::integral_constant<int, width>,
//                                            and a chunk is kLanes * width words of 4 bytes
//   kAsPacked                                whether the words are the packed integers, which may then stay in place
//   void unpack<kBits, kInPlace>(bytes, grid, words)   a chunk as 8 words of 4 columns
//   VF add<kBits, kVnni, kInPlace>(acc, words, grid, x, meta)   acc + the chunk's products; the same sum for any kBits
//                                            that is at least the chunk's when words are not in place
//   VF add_dot<kBits>(acc, dot, grid, meta)  the same, given the integer dot products of a chunk's words, as signed
//   bytes,
//                                            with the row; for AMX, and not in a format that needs more products
//   VF finish(tile, acc)                     the outputs of a tile
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/bit_planes-inl.h"

#if defined(LATHE_KERNELS_CPU_CHUNK_LOOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_KERNELS_CPU_CHUNK_LOOP_INL_H_
#undef LATHE_KERNELS_CPU_CHUNK_LOOP_INL_H_
#else
#define LATHE_KERNELS_CPU_CHUNK_LOOP_INL_H_
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace lathe::kernels::cpu::HWY_NAMESPACE {

// Unsigned integers of kBits bits, and signed ones of 8, as dot_run takes the weights of a codec.
template <int kBits>
struct Levels {
  static constexpr int kGroup = 0, kLargest = kBits == 8 ? 128 : (1 << kBits) - 1, kZeroShift = -1;
  static constexpr bool kSigned = kBits == 8;
  static constexpr int left(int, int word) { return word_left<kBits>(word); }
};

// The integer dot products of a chunk's 8 words, weights as `Codec` says (tile_dots-inl.h), with one row of input.
template <class Codec, bool kVnni, bool kInPlace = false>
HWY_INLINE VI dot_chunk(const VI* words, const std::int8_t* x, const Q8Meta& meta) {
  if constexpr (kInPlace) return dot_in_place<Codec, kVnni, 0>(words, RunScales<Codec>(), x, meta);
  const Q8Meta* chunk_meta = &meta;
  VI dot;
  dot_run<Codec, kVnni, 1>(words, RunScales<Codec>(), &x, &chunk_meta, &dot);
  return dot;
}

// kLanes half-precision numbers.
HWY_INLINE VF load_halves(const std::uint16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  return hn::PromoteTo(DF(), hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p)));
}
// kLanes unsigned bytes.
HWY_INLINE VI load_bytes(const void* p) {
  const hn::Rebind<std::uint8_t, DI> d8;
  return hn::PromoteTo(DI(), hn::LoadU(d8, static_cast<const std::uint8_t*>(p)));
}

// Up to kChunks unpacked chunks of a tile, and the sums of every row of input.
template <class Format, bool kVnni, bool kAmx>
struct ChunkStep {
  static constexpr std::size_t kChunks = 8, kRows = HWY_MAX_BYTES == 64 ? 4 : 2;
  alignas(64) VI words[kChunks * kChunkWords];
  typename Format::Grid grids[kChunks];

  // Adds the products of `count` chunks, of which the first is `first`, to sums[row * kLanes].
  void multiply(const Format& format, const MatmulJob& job, std::size_t first, std::size_t count, float* sums) const {
#if HWY_TARGET == HWY_AVX3_DL
    if constexpr (kAmx) return by_amx(format, job, first, count, sums);
#endif
    std::size_t row = 0;
    for (; row + kRows <= job.rows; row += kRows) rows<kRows>(format, job, row, first, count, sums + row * kLanes);
    for (; row < job.rows; ++row) rows<1>(format, job, row, first, count, sums + row * kLanes);
  }

 private:
  template <std::size_t kCount>
  HWY_INLINE void rows(const Format& format, const MatmulJob& job, std::size_t row, std::size_t first,
                       std::size_t count, float* sums) const {
    const DF d;
    const std::size_t chunks = format.chunks();
    const std::int8_t* x = job.q8.values + (row * chunks + first) * kIntChunk;
    const Q8Meta* meta = job.q8.meta + row * chunks + first;
    VF acc[kCount];
    for (std::size_t r = 0; r < kCount; ++r) acc[r] = hn::LoadU(d, sums + r * kLanes);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t r = 0; r < kCount; ++r) {
        acc[r] = format.template add<Format::kWidest, kVnni, false>(
            acc[r], words + i * kChunkWords, grids[i], x + (r * chunks + i) * kIntChunk, meta[r * chunks + i]);
      }
    }
    for (std::size_t r = 0; r < kCount; ++r) hn::StoreU(acc[r], d, sums + r * kLanes);
  }
#if HWY_TARGET == HWY_AVX3_DL
  void by_amx(const Format& format, const MatmulJob& job, std::size_t first, std::size_t count, float* sums) const {
    constexpr std::size_t kSums = kAmxRows * kLanes;
    alignas(64) std::int32_t products[kChunks * kSums];  // [chunk][row][lane]
    const std::size_t chunks = format.chunks();
    for (std::size_t row = 0; row < job.rows; row += kAmxRows) {
      const std::size_t rows = std::min(kAmxRows, job.rows - row);
      const std::int8_t* x = job.q8.amx + row * chunks * kIntChunk + first * kAmxRows * kIntChunk;
      amx_dots(
          count, rows, [&](std::size_t i) LATHE_INLINE_LAMBDA { return words + i * kChunkWords; },
          [&](std::size_t i) LATHE_INLINE_LAMBDA { return x + i * kAmxRows * kIntChunk; }, products);
      const Q8Meta* meta = job.q8.meta + row * chunks + first;
      for (std::size_t r = 0; r < rows; r += kRows) {
        add_products(format, products + r * kLanes, meta + r * chunks, std::min(kRows, rows - r), count,
                     sums + (row + r) * kLanes);
      }
    }
  }
  // Of at most kRows rows; those behind the last are computed from what is there, and left out.
  HWY_INLINE void add_products(const Format& format, const std::int32_t* products, const Q8Meta* meta, std::size_t rows,
                               std::size_t count, float* sums) const {
    const std::size_t chunks = format.chunks();
    VF acc[kRows];
    const Q8Meta* metas[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      const std::size_t own = std::min(r, rows - 1);
      acc[r] = hn::LoadU(DF(), sums + own * kLanes), metas[r] = meta + own * chunks;
    }
    for (std::size_t i = 0; i < count; ++i, products += kAmxRows * kLanes) {
      for (std::size_t r = 0; r < kRows; ++r) {
        acc[r] = format.template add_dot<Format::kWidest>(acc[r], hn::Load(DI(), products + r * kLanes), grids[i],
                                                          metas[r][i]);
      }
    }
    for (std::size_t r = 0; r < rows; ++r) hn::StoreU(acc[r], DF(), sums + r * kLanes);
  }
#endif
};

template <class Format, bool kVnni, bool kAmx>
void multiply_chunks(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const DF d;
  const Format format(*job.laid_out);
  float* sums = scratch.get<float>(job.rows * kLanes);
  for (std::size_t feature = begin; feature < end; feature += kLanes) {
    const std::size_t tile = feature / kLanes, valid = std::min(kLanes, end - feature);
    if (job.rows == 1) {
      VF acc = hn::Zero(d);
      const std::int8_t* x = job.q8.values;
      const Q8Meta* meta = job.q8.meta;
      format.runs(tile, [&](auto bits, const auto& grid, const std::byte* p, std::size_t count) HWY_ATTR {
        constexpr int kBits = decltype(bits)::value;
        constexpr bool kInPlace = Format::kAsPacked && kFullBytes<kVnni> && kPureWidth<kBits>;
        for (std::size_t i = 0; i < count; ++i, p += kLanes * kBits * 4, x += kIntChunk, ++meta) {
          VI words[kChunkWords];
          prefetch_weights<kLanes * kBits * 4>(p);
          format.template unpack<kBits, kInPlace>(p, grid, words);
          acc = format.template add<kBits, kVnni, kInPlace>(acc, words, grid, x, *meta);
        }
      });
      store_outputs(job, 0, feature, valid, format.finish(tile, acc));
      continue;
    }
    std::fill(sums, sums + job.rows * kLanes, 0.0f);
    ChunkStep<Format, kVnni, kAmx> step;
    std::size_t first = 0, filled = 0;
    format.runs(tile, [&](auto bits, const auto& grid, const std::byte* p, std::size_t count) HWY_ATTR {
      constexpr int kBits = decltype(bits)::value;
      for (std::size_t i = 0; i < count; ++i, p += kLanes * kBits * 4) {
        VI* words = step.words + filled * kChunkWords;
        format.template unpack<kBits, false>(p, grid, words);
        if constexpr (kAmx && kBits == 8) {  // signed words are stored with their top bits flipped for VNNI
          for (int w = 0; w < kChunkWords; ++w) words[w] = encode_signed(words[w]);
        }
        step.grids[filled] = grid;
        if (++filled < step.kChunks) continue;
        step.multiply(format, job, first, filled, sums);
        first += filled, filled = 0;
      }
    });
    if (filled > 0) step.multiply(format, job, first, filled, sums);
    for (std::size_t r = 0; r < job.rows; ++r) {
      store_outputs(job, r, feature, valid, format.finish(tile, hn::LoadU(d, sums + r * kLanes)));
    }
  }
}

// The same, as many rows of input at a time as the cache near the core holds.
template <class Format, bool kVnni, bool kAmx>
void multiply_chunk_rows(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  const std::size_t chunks = Format(*job.laid_out).chunks(), most = rows_at_a_time<kAmx>(chunks * kIntChunk);
  for (std::size_t row = 0; row < job.rows; row += most) {
    MatmulJob part = job;
    part.rows = std::min(most, job.rows - row);
    part.out += row * job.out_stride;
    part.q8.values += row * chunks * kIntChunk, part.q8.meta += row * chunks;
    if constexpr (kAmx) part.q8.amx += row * chunks * kIntChunk;
    multiply_chunks<Format, kVnni, kAmx>(part, begin, end, scratch);
  }
}

#if HWY_TARGET == HWY_AVX3_DL
template <class Format>
void multiply_by_amx(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch) {
  if (job.q8.amx == nullptr) return multiply_chunk_rows<Format, false, false>(job, begin, end, scratch);
  const AmxShapes shapes(kChunkWords, job.rows % kAmxRows);
  multiply_chunk_rows<Format, false, true>(job, begin, end, scratch);
}
#endif

// The function for a format, with the extension beside the target's instructions or without.
template <class Format>
MatmulFunction chunk_function(Extension extension) {
  if constexpr (HWY_TARGET == HWY_AVX2) {
    if (extension == Extension::kAvxVnni) return multiply_chunk_rows<Format, true, false>;
  }
#if HWY_TARGET == HWY_AVX3_DL
  if constexpr (requires(const Format& format, const typename Format::Grid& grid, const Q8Meta& meta) {
                  format.template add_dot<Format::kWidest>(VF(), VI(), grid, meta);
                }) {
    if (extension == Extension::kAmx) return multiply_by_amx<Format>;
  }
#endif
  return multiply_chunk_rows<Format, false, false>;
}

}  // namespace lathe::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // per-target include guard
