// A stream of the CPU backend. Work runs at once, on the calling thread and the pool; the stream only owns the scratch
// space, so that streams of different threads do not share any.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/q8_tally.h"

namespace lathe::kernels::cpu {

class CpuStream final : public Stream {
 public:
  explicit CpuStream(int workers) : worker(static_cast<std::size_t>(workers)) {}

  Q8Tally q8_tally;
  Scratch floats, q8_values, q8_meta, q8_amx, q8_amx_meta;  // prepared inputs
  Scratch q8_row_scales, q8_row_sums;
  Scratch q8_outliers, q8_beyond;
  Scratch lut_tables, lut_meta;
  Scratch plane_words, plane_sums, plane_meta;
  Scratch rank_in, rank_mid, rank_out;  // low-rank updates
  Scratch partials;                     // attention
  Scratch grouped_in, grouped_out;      // rows that chose the same expert
  std::vector<Scratch> worker;          // one for each thread of the pool
};

}  // namespace lathe::kernels::cpu
