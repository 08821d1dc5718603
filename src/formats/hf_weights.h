// Names and storage of Hugging Face checkpoints to canonical tensors and back.
#pragma once

#include <filesystem>
#include <vector>

#include "arch/families.h"
#include "formats/hf_quantized.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_source.h"

namespace lathe::formats {

// Takes the tensors of one safetensors file into `weights`: canonical names, and what arch::Storage says undone. Known
// buffers are passed over; parts of quantized linears go to `quantized` where there is one; other tensors that the
// family has not are reported and left out.
void add_hf_weights(const Bytes& bytes, const arch::Architecture& architecture, bool with_data,
                    HfQuantizedWeights* quantized, arch::Weights& weights);

// The canonical name of a checkpoint's tensor, empty when the family has none. Base models are stored without the
// prefix ("transformer.", "model.") that the same tensors have in a model with a head.
std::string hf_canonical_name(const arch::Family& family, const std::string& name);

// A stored output head that config.json declares tied is dropped (as the reference implementation does), and a missing
// one makes the model tied.
void settle_output_head(arch::Weights& weights, arch::Architecture& architecture, const std::string& where);

// The model's tensors as items of a safetensors file, in Hugging Face names, orientation and row order. Throws for
// codecs that safetensors has no dtype for.
std::vector<SafetensorsItem> hf_items(const ModelFile& model, const SaveOptions& options, const std::string& where);

// "bfloat16": of the type that holds most weights.
std::string torch_dtype(const std::vector<SafetensorsItem>& items);

}  // namespace lathe::formats
