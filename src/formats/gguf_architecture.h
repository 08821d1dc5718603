// GGUF metadata <-> Architecture: the `<arch>.*` keys, and what the presence of tensors says (biases, a separate output
// head, gated feed-forward layers).
#pragma once

#include "arch/families.h"
#include "arch/weights.h"
#include "formats/metadata.h"

namespace lathe::formats {

// The row of arch/families.h that a file with these tensors belongs to, by its own names for them.
const arch::Family& gguf_family(const Metadata& metadata, FunctionRef<bool(std::string_view)> has_tensor);

// `weights` is the tensor table in canonical names (data is only needed for the rotary factor tensors). Throws an Error
// naming the file and the key. The result is validated.
arch::Architecture architecture_from_gguf(const Metadata& metadata, const arch::Family& family,
                                          const arch::Weights& weights);

// Sets every key that architecture_from_gguf() reads (others are kept). Throws for what GGUF cannot say (dynamic NTK,
// a family's fixed property that this model changes).
void architecture_to_gguf(const arch::Architecture& architecture, Metadata& metadata);

}  // namespace lathe::formats
