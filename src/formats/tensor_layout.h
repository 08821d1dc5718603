// Tensors from and to files beyond the simple case: several parts, matrices whose rows must change their order, and
// matrices stored the other way round.
#pragma once

#include <functional>
#include <string>

#include "arch/architecture.h"
#include "tensor/packed_tensor.h"

namespace lathe::formats {

// packed_parts() of what `read` gives for each part that `codec` needs for `shape`.
PackedTensor read_parts(std::string name, const Codec& codec, const CodecParams& params, const Shape& shape,
                        const std::function<Bytes(const PartSpec&)>& read);

// Row i of the result is row source(i) of `tensor`. Lossless for every codec whose parts all run along the rows; throws
// for others. A vector counts as one column.
PackedTensor permute_rows(const PackedTensor& tensor, const std::function<std::uint64_t(std::uint64_t)>& source);

// q, k and v rows of `a` as arch::Storage::kGroupedQkv orders them, to and from the canonical order: all queries, all
// keys, all values.
PackedTensor ungroup_qkv(const PackedTensor& tensor, const arch::Architecture& a);
PackedTensor group_qkv(const PackedTensor& tensor, const arch::Architecture& a);

// Every value plus `offset`, as F32.
PackedTensor shifted(const PackedTensor& tensor, float offset);

// A matrix less its first `count` rows, and with so many rows of zeros before it (plain element types only).
PackedTensor without_first_rows(const PackedTensor& tensor, std::uint64_t count);
PackedTensor with_zero_rows(const PackedTensor& tensor, std::uint64_t count);

// [rows, cols] stored as [cols, rows] (GPT-2's Conv1D in Hugging Face checkpoints); only for plain element types.
PackedTensor transpose(const PackedTensor& tensor);

// Reorders the query or key rows of one layer from one rotary layout to the other. `n_heads` heads of
// a.head_dim rows, of which a.rotary_dim rotate.
PackedTensor change_rope_layout(const PackedTensor& tensor, const arch::Architecture& a, std::uint32_t n_heads,
                                RopeLayout from, RopeLayout to);

}  // namespace lathe::formats
