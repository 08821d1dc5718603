// One row per model family: what is fixed about it, and how the files of others spell its numbers and tensors. Each row
// is a file under arch/families/; the table is in families.cpp. A new family is a new row (and a test), unless it
// brings a new kind of block.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "arch/architecture.h"
#include "base/json_fwd.h"
#include "base/thread_pool.h"

namespace lathe::arch {

// How a tensor of a Hugging Face checkpoint holds the canonical one.
enum class Storage : std::uint8_t {
  kPlain,
  kTransposed,    // [in, out] (GPT-2's Conv1D)
  kGroupedQkv,    // fused q, k and v, ordered by KV head: its query heads, its key head, its value head (GPT-NeoX)
  kGainLessOne,   // norm weights less 1 (Gemma)
  kFromThirdRow,  // less the first two rows, which no position has (RoBERTa)
  kLatentKv       // the products of the latent that make keys and values, in one matrix (DeepSeek-V2)
};

// "model.layers.{}.self_attn.q_proj.weight" <-> "blk.{}.attn_q.weight"; {} is the layer, a second one the expert.
struct NameRule {
  std::string canonical;
  std::string hugging_face;
  Storage storage = Storage::kPlain;
  std::string gguf = {};  // where GGUF files of the family use another name than the canonical one
};

// A number that files spell under a name of their own. Sizes, factors, switches and activation functions.
using FieldRef = std::variant<std::uint32_t& (*)(Architecture&), float& (*)(Architecture&), bool& (*)(Architecture&),
                              ActivationKind& (*)(Architecture&)>;
// The models do without: 0 here, and null in config.json, where other programs take a 0 at its word (a window that
// shows nothing, a division by a cap of 0).
struct None {};
struct Field {
  std::string_view hf;  // key of config.json; empty: it does not say this
  FieldRef value;
  // What an absent or null key of config.json means; monostate: the key is needed, or an activation function keeps the
  // family's own.
  std::variant<std::monostate, double, double (*)(const Architecture&), None> otherwise = {};
  std::string_view hf_alias = {};
  std::string_view gguf = {};  // key of GGUF metadata after "<arch>."; absent there: the default stands
};

// ref<&Architecture::width>, ref<&Architecture::moe, &MixtureOfExperts::top_k>: the members that fields stand for.
template <auto kMember>
auto& ref(Architecture& a) {
  return a.*kMember;
}
template <auto kOuter, auto kMember>
auto& ref(Architecture& a) {
  return a.*kOuter.*kMember;
}

// Keys of config.json for the rotary base and the rotating part of a head.
struct RopeKeys {
  const char* theta = "rope_theta";
  const char* part = "partial_rotary_factor";  // nullptr: it is said in elements (read_hf, write_hf)
  float part_otherwise = 1;
};

struct Family {
  std::string_view name;
  std::string_view gguf;           // GGUF's general.architecture (for GPT-J and OPT, which no other program reads)
  std::string_view hf_model_type;  // config.json's model_type
  std::string_view hf_class;       // config.json's architectures[0]
  Architecture defaults;           // everything the files do not say
  RopeLayout gguf_rope_layout = RopeLayout::kHalves;  // for which GGUF files have their q and k rows ordered
  RopeLayout hf_rope_layout = RopeLayout::kHalves;    // and Hugging Face checkpoints
  std::vector<NameRule> names;
  std::vector<Field> fields;
  RopeKeys rope_keys;
  std::string_view hf_quantization = {};  // the "quant_method" of its published checkpoints, where Lathe reads it
  // What is more than a field. `where` is the file.
  void (*read_hf)(const Json& config, Architecture& architecture, const std::string& where) = nullptr;
  void (*write_hf)(const Architecture& architecture, Json& config) = nullptr;
  // What follows from the numbers read and no file says.
  void (*settle)(Architecture& architecture) = nullptr;
  // Sizes of a small model (small_shape()) where the common ones do not fit the family or would not show what it has.
  void (*shrink)(Architecture& architecture) = nullptr;
  // Rows that share a GGUF name, or a model type, with one that comes later in the table say which files are theirs: by
  // a tensor that only they have, by what was read, or by the configuration.
  std::string_view gguf_mark = {};
  bool (*is)(const Architecture& architecture) = nullptr;
  bool (*is_hf)(const Json& config, const std::string& where) = nullptr;
};

std::span<const Family> families();
const Family* find_family(std::string_view name);
// Throw an Error naming `where` that lists the families known. `has_tensor` answers for GGUF names.
const Family& family_of_config(const Json& config, const std::string& where);
const Family& family_of_gguf(std::string_view architecture, FunctionRef<bool(std::string_view)> has_tensor,
                             std::string_view where);
// The row of the same GGUF name that says the architecture is its own, or `family`.
const Family& settled_family(const Family& family, const Architecture& architecture);
// Throws an Error naming `where` that lists the families known.
const Family& family_named(std::string_view name, std::string_view where);

// A model of the family with a few million weights, for tests and examples: 4 layers of width 256, 8 heads of 32 of
// which pairs share keys and values, a vocabulary of 4096, a context of 512.
Architecture small_shape(const Family& family);

// Rules for the ".weight" and ".bias" of a module.
void add_with_bias(std::vector<NameRule>& names, const std::string& canonical, const std::string& hugging_face,
                   Storage storage = Storage::kPlain);

// Names between layouts; empty when the family has no such tensor. `layer` is filled into {}.
std::string hf_name(const Family& family, std::string_view canonical);
std::string canonical_name(const Family& family, std::string_view hugging_face);
const NameRule* name_rule(const Family& family, std::string_view canonical);
// Where GGUF files differ from the canonical names; any other name stays as it is.
std::string gguf_name(const Family& family, std::string_view canonical);
std::string canonical_name_of_gguf(const Family& family, std::string_view gguf);

}  // namespace lathe::arch
