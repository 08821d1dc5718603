// The table of functions that exist once per instruction set. The backend picks one table when it is made and stays
// with it. Functions work on single rows or tiles: threads, strides and shapes are the callers' business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/kv_block.h"
#include "kernels/cpu/lut_input.h"
#include "kernels/cpu/plane_input.h"
#include "kernels/cpu/q8_input.h"
#include "tensor/op_kinds.h"

namespace lathe::kernels::cpu {

// out, x: n floats, may be the same; weight, bias: n floats or nullptr.
struct NormKernels {
  void (*rms)(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps);
  void (*layer)(float* out, const float* x, const float* weight, const float* bias, std::size_t n, float eps);
};

struct ElementwiseKernels {
  void (*activate)(ActivationKind kind, float* out, const float* x, std::size_t n);
  void (*gated)(ActivationKind kind, float* out, const float* gate, const float* up, std::size_t n);
  void (*gated_clamped)(float* out, const float* gate, const float* up, float limit, std::size_t n);
  void (*add)(float* out, const float* a, const float* b, std::size_t n);
  void (*scale)(float* x, float factor, std::size_t n);
  void (*add_scaled)(float* out, const float* x, float factor, std::size_t n);  // out += factor * x
  void (*softcap)(float* x, float cap, std::size_t n);
  std::size_t (*argmax)(const float* x, std::size_t n);  // the lowest on a tie; NaN never wins
};

struct RopeKernels {
  // Rotates head[0 .. 2 * n_freq) in place.
  void (*rotate)(float* head, const float* cosines, const float* sines, std::size_t n_freq, RopeLayout layout);
};

struct AttentionKernels;  // attention_kernels.h

struct QuantizeKernels {
  // n is a multiple of kQ8Block.
  void (*q8)(const float* x, std::size_t n, std::int8_t* values, Q8Meta* meta);
  // The same with one scale, which it returns; sums: n / kQ8Block + 1, as Q8RowInput has them.
  float (*q8_row)(const float* x, std::size_t n, std::int8_t* values, std::int32_t* sums);
  // The same under a scale given, finite and at least 1e-30; NaN is returned, and every integer is 0, when x is not
  // finite. `beyond`: how many values lie beyond +-127 steps, and are cut off; `outliers`: what is cut off of them, in
  // order, room for n; nullptr: not wanted.
  float (*q8_fixed)(const float* x, std::size_t n, float scale, std::int8_t* values, std::int32_t* sums,
                    Q8Outlier* outliers, std::uint32_t* beyond);
  // One row of n activations, zeros behind them up to whole chunks: words [bits][chunks], sums [chunks + 1].
  void (*planes)(const float* x, std::size_t n, const PlaneFormat& format, std::uint32_t* words, std::int32_t* sums,
                 PlaneMeta* meta);
};

// Tables of one row of `blocks` * kLutBlock activations.
using LutFunction = void (*)(const float* x, std::size_t blocks, std::uint8_t* tables, LutMeta* meta);

// How integer groups are multiplied where both ways can (int_group.h): kAuto means dot.
// kLutFast is kLut with averages of what is looked up for its sums: faster and less exact.
enum class IntegerKernel : std::uint8_t { kAuto, kDot, kLut, kLutFast };

// Instructions that a set uses beside its target's, where Highway has no target with them: AVX-VNNI beside AVX2, AMX's
// products of 8-bit matrices beside AVX-512 with VNNI.
enum class Extension : std::uint8_t { kNone, kAvxVnni, kAmx };

// One set per instruction set.
struct KernelSet {
  std::string_view name;     // "scalar", "AVX2", ...
  std::size_t target_index;  // position in Highway's dispatch tables; unused by the scalar set
  bool scalar;
  Extension extension;
  const NormKernels* norm;
  const ElementwiseKernels* elementwise;
  const RopeKernels* rope;
  const QuantizeKernels* quantize;
  const AttentionKernels* attention;  // nullptr: the reference
  LutFunction lut;                    // nullptr: none
  IntegerKernel integers = IntegerKernel::kAuto;

  bool vnni() const { return extension == Extension::kAvxVnni; }
};

// The tables of one target, by its index (each defined beside its kernels).
const NormKernels* norm_kernels(std::size_t target_index);
const ElementwiseKernels* elementwise_kernels(std::size_t target_index);
const RopeKernels* rope_kernels(std::size_t target_index);
const QuantizeKernels* quantize_kernels(std::size_t target_index);
const AttentionKernels* attention_kernels(std::size_t target_index);
LutFunction lut_function_of(std::size_t target_index);

// "auto", "scalar", "avx2", ..., and "+dot", "+lut" or "+lut-fast" behind it for how integer groups are multiplied;
// throws an Error listing what this machine has.
KernelSet select_kernels(std::string_view name);
// Every name this machine can run beside "auto", best first, ending with "scalar".
std::vector<std::string> available_kernels();

}  // namespace lathe::kernels::cpu
