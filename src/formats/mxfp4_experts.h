// The experts of gpt-oss checkpoints: for every layer one array of 4-bit codes, one of scales and one of biases, the
// rows of gate and up alternating. Lathe has a matrix for each expert and product, its blocks as GGUF orders them.
#pragma once

#include "arch/weights.h"

namespace lathe::formats {

// Replaces "blk.N.ffn_gate_up_blocks" [experts, 2 * ffn, width / 32, 16], "..._scales" [experts, 2 * ffn, width / 32]
// and
// "..._bias" [experts, 2 * ffn], and the same of "ffn_down" [experts, width, ffn / 32, ...], by MXFP4 matrices and
// their biases. Throws an Error naming `where` and the tensor when one is missing or has another shape.
void split_mxfp4_experts(const arch::Architecture& architecture, arch::Weights& weights, const std::string& where);

}  // namespace lathe::formats
