// One row per model family: what is fixed about it, and how other file layouts spell its tensors. A new family is a new
// row (and a test), unless it brings a new kind of block.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "arch/architecture.h"

namespace lathe::arch {

// "model.layers.{}.self_attn.q_proj.weight" <-> "blk.{}.attn_q.weight"; {} is the layer.
struct NameRule {
  std::string_view canonical;
  std::string_view hugging_face;
  bool transposed = false;  // stored [in, out] in Hugging Face checkpoints (GPT-2's Conv1D)
};

struct Family {
  std::string_view name;           // also GGUF's general.architecture
  std::string_view hf_model_type;  // config.json's model_type
  std::string_view hf_class;       // config.json's architectures[0]
  Architecture defaults;           // everything the files do not say
  RopeLayout gguf_rope_layout;     // GGUF files of this family have their q and k rows ordered for this layout
  std::span<const NameRule> names;
};

std::span<const Family> families();
const Family* find_family(std::string_view name);
const Family* find_family_by_hf(std::string_view model_type);
// Throws an Error naming `where` that lists the families known.
const Family& family_named(std::string_view name, std::string_view where);

// Names between layouts; empty when the family has no such tensor. `layer` is filled into {}.
std::string hf_name(const Family& family, std::string_view canonical);
std::string canonical_name(const Family& family, std::string_view hugging_face);
const NameRule* name_rule(const Family& family, std::string_view canonical);

}  // namespace lathe::arch
