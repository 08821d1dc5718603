// Slow, obvious kernels in plain C++ with double accumulators: the "scalar" set, and what the tests hold every fast
// kernel against.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/matmul.h"

namespace lathe::kernels::cpu {

extern const NormKernels kReferenceNorm;
extern const ElementwiseKernels kReferenceElementwise;
extern const RopeKernels kReferenceRope;
extern const QuantizeKernels kReferenceQuantize;

// Any codec, from f32 input.
void reference_matmul(const MatmulJob& job, std::size_t begin, std::size_t end, Scratch& scratch);

float reference_activation(ActivationKind kind, float x);

// Stores one token's key or value head: `x` of `dim` floats, at `slot` of `block`.
void reference_store_key(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, const float* x);
void reference_store_value(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, const float* x);
// Element d of a cached key or value.
float reference_key(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, std::uint64_t d);
float reference_value(const KvLayout& layout, void* block, std::uint64_t slot, std::uint64_t head, std::uint64_t d);

// One head of one row of a sequence: q [k_dim], and far_q for far runs, to out [v_dim]. probability, when given, takes
// one number per slot of all runs that are not far, in order.
void reference_attention_head(const KvLayout& layout, const AttentionParams& params, const AttentionSequence& sequence,
                              std::uint64_t row, std::uint64_t head, const float* q, const float* far_q, float* out,
                              double* probability);

}  // namespace lathe::kernels::cpu
