// Which kernel multiplies which codec. A codec without a row here is decoded to floats, a few rows at a time.
#include "kernels/cpu/bitmod.h"
#include "kernels/cpu/codec_kernels.h"
#include "kernels/cpu/dgq.h"
#include "kernels/cpu/fdb.h"
#include "kernels/cpu/float_matmul.h"
#include "kernels/cpu/int_group.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference.h"
#include "kernels/cpu/slim.h"
#include "kernels/cpu/spqr.h"
#include "kernels/cpu/w8a8.h"

namespace lathe::kernels::cpu {
namespace {

struct Row {
  std::string_view codec;
  std::string_view kernel;
  ActivationFormat format;
  MatmulKernel (*kernel_for)(const KernelSet& kernels);
};

constexpr Row kTable[] = {
    {"Q8_0", "q8_0 x q8", ActivationFormat::kQ8Block, q8_0_matmul},
    {"Q4_0", "q4_0 x q8", ActivationFormat::kQ8Block, q4_0_matmul},
    {"Q4_1", "q4_1 x q8", ActivationFormat::kQ8Block, q4_1_matmul},
    {"Q5_0", "q5_0 x q8", ActivationFormat::kQ8Block, q5_0_matmul},
    {"Q5_1", "q5_1 x q8", ActivationFormat::kQ8Block, q5_1_matmul},
    {"Q2_K", "q2_k x q8", ActivationFormat::kQ8Block, q2_k_matmul},
    {"Q3_K", "q3_k x q8", ActivationFormat::kQ8Block, q3_k_matmul},
    {"Q4_K", "q4_k x q8", ActivationFormat::kQ8Block, q4_k_matmul},
    {"Q5_K", "q5_k x q8", ActivationFormat::kQ8Block, q5_k_matmul},
    {"Q6_K", "q6_k x q8", ActivationFormat::kQ8Block, q6_k_matmul},
    {"IQ4_NL", "iq4_nl x q8", ActivationFormat::kQ8Block, iq4_nl_matmul},
    {"IQ4_XS", "iq4_xs x q8", ActivationFormat::kQ8Block, iq4_xs_matmul},
    {"TQ2_0", "tq2_0 x q8", ActivationFormat::kQ8Block, tq2_0_matmul},
    {"MXFP4", "mxfp4 x q8", ActivationFormat::kQ8Block, mxfp4_matmul},
};

// Kernels whose layout depends on the weight, where they can take it.
struct LaidOutRow {
  std::string_view codec;
  std::optional<Matmul> (*matmul_for)(const PackedTensor& weight, const KernelSet& kernels);
  bool scalar_too = false;  // its products may mean more than the weight's values, and then do so in the scalar set too
};

constexpr LaidOutRow kLaidOut[] = {
    {"F32", f32_matmul},
    {"F16", f16_matmul},
    {"BF16", bf16_matmul},
    {"INT_SYM", int_group_matmul, true},
    {"INT_ASYM", int_group_matmul, true},
    {"BIPOLAR", int_group_matmul, true},
    {"BALANCED", balanced_matmul, true},
    {"SPQR", spqr_matmul},
    {"SPQR_ORDERED", spqr_matmul},
    {"BITMOD", bitmod_matmul},
    {"FDB", fdb_matmul},
    {"DGQ", dgq_matmul},
    {"SLIM", slim_matmul},
    {"W8A8", w8a8_matmul, true},
};

}  // namespace

Matmul find_matmul(const PackedTensor& weight, const KernelSet& kernels) {
  const Codec& codec = *weight.codec;
  for (const LaidOutRow& row : kLaidOut) {
    if (row.codec != codec.name() || (kernels.scalar && !row.scalar_too)) continue;
    if (const auto matmul = row.matmul_for(weight, kernels)) return *matmul;
  }
  if (!kernels.scalar) {
    for (const Row& row : kTable) {
      if (row.codec != codec.name()) continue;
      if (const MatmulKernel kernel = row.kernel_for(kernels); kernel.run) return {row.kernel, row.format, kernel};
    }
    if (const auto matmul = decoded_matmul(weight, kernels)) return *matmul;
  }
  return {"decoded x f32", ActivationFormat::kF32, {reference_matmul, {}}};
}

}  // namespace lathe::kernels::cpu
