// GGUF files hold the matrices of a layer's experts (and those of its heads, in latent attention) as one tensor with
// one dimension more; Lathe has a tensor for each matrix, "blk.3.ffn_up.7.weight". Both directions keep every byte.
#pragma once

#include <string>
#include <vector>

#include "arch/weights.h"
#include "formats/tensor_source.h"

namespace lathe::formats {

// Adds a tensor of a GGUF file: a stack as its matrices, which share its bytes, anything else as it is. `file` goes
// into errors.
void add_unstacked(const PackedTensor& tensor, const std::string& file, arch::Weights& weights);

// The tensors as a GGUF file holds them, each stack where its first matrix was. Throws when the matrices of a stack
// differ in codec.
std::vector<TensorSource> stacked(std::vector<TensorSource> sources, const std::string& file);

// Latent attention's product that makes keys and values of the latent, [heads * (plain + v_head_dim), rank], as some
// files hold it, and the two of each head that Lathe has: attn_k_b.H [rank, plain], turned round, and attn_v_b.H
// [v_head_dim, rank]. A quantized product is kept for the values; the keys' share becomes F32.
void split_latent_products(const arch::Architecture& architecture, arch::Weights& weights);
std::vector<TensorSource> with_latent_products_joined(std::vector<TensorSource> sources,
                                                      const arch::Architecture& architecture);

}  // namespace lathe::formats
