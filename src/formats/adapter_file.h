// Low-rank adapters (LoRA, Hu et al. 2021) as files hold them: a PEFT folder (adapter_config.json beside
// adapter_model.safetensors) or a GGUF adapter.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "arch/architecture.h"
#include "tensor/packed_tensor.h"

namespace lathe::formats {

// W += scale * B A
struct LowRankTensors {
  PackedTensor a;   // [rank, in_features]
  PackedTensor b;   // [out_features, rank]
  float scale = 1;  // alpha / rank, or alpha / sqrt(rank) where the adapter was trained so (rsLoRA, Kalajdzievski 2023)
};

struct AdapterFile {
  std::string path;
  std::map<std::string, LowRankTensors> low_rank;  // by weight, without ".weight": "blk.0.attn_q"
};

// Reads an adapter for models of `architecture`: names become canonical and query and key rows follow its RoPE layout.
// Throws an Error naming the file and the tensor for one that targets something the model does not have, or has with
// another shape, and for what plain low rank cannot express (formats/peft_config.h).
AdapterFile load_adapter(const std::filesystem::path& path, const arch::Architecture& architecture);

}  // namespace lathe::formats
