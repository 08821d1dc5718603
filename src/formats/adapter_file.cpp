#include "formats/adapter_file.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "arch/families.h"
#include "arch/lower.h"
#include "arch/weights.h"
#include "base/file.h"
#include "formats/adapter_readers.h"
#include "formats/gguf_reader.h"
#include "formats/peft_config.h"
#include "formats/safetensors_reader.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kConfigLimit = 1 << 18;

// Throws for what is no number as a float.
float finite_scale(double alpha, double divisor, const std::string& where) {
  const double scale = alpha / divisor;
  if (!(std::abs(scale) <= std::numeric_limits<float>::max()))
    fail(where, "the scale of its updates, alpha, is {}", alpha);
  return static_cast<float>(scale);
}

void set_matrix(LowRankTensors& low_rank, bool is_a, PackedTensor tensor, const std::string& where) {
  PackedTensor& matrix = is_a ? low_rank.a : low_rank.b;
  if (!matrix.parts.empty()) fail(where, "tensor \"{}\" is there twice", tensor.name);
  matrix = std::move(tensor);
}

// "name.lora_A.weight" or "name.lora_A.default.weight" -> "name" and which of the two it is.
struct PeftName {
  std::string module;
  bool is_a = false;
};

std::optional<PeftName> parse_peft_name(std::string_view name) {
  for (const std::string_view prefix : {"base_model.model.", "base_model."}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      break;
    }
  }
  for (const bool is_a : {true, false}) {
    const std::string_view part = is_a ? ".lora_A." : ".lora_B.";
    const std::size_t at = name.find(part);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = name.substr(at + part.size());
    if (rest == "weight" || rest == "default.weight") return PeftName{std::string(name.substr(0, at)), is_a};
  }
  return std::nullopt;
}

// The rows of B are rows of the query and key weights: they follow the model's RoPE layout.
void follow_rope_layout(AdapterFile& adapter, const arch::Architecture& a, RopeLayout from) {
  for (auto& [name, low_rank] : adapter.low_rank) {
    const bool q = name.ends_with(".attn_q"), k = name.ends_with(".attn_k");
    if ((q || k) && !low_rank.b.empty() && low_rank.b.shape.rows() == (q ? a.q_width() : a.k_width())) {
      low_rank.b = change_rope_layout(low_rank.b, a, q ? a.n_heads : a.n_kv_heads, from, a.rope_layout);
    }
  }
}

// The weights that plain products in the model's layers multiply with, by name without ".weight". Embeddings and biases
// by distance are looked up, and the head runs after the rows of a batch were picked.
std::set<std::string, std::less<>> adaptable(const arch::Architecture& a) {
  std::set<std::string, std::less<>> names;
  const auto add = [&](const arch::OpList& list) {
    for (const arch::Op& op : list.ops) {
      if (op.kind != arch::OpKind::kLinear || op.layer < 0) continue;
      for (const arch::LinearUse& use : op.linears) names.insert(use.weight);
    }
  };
  add(arch::lower(a));
  if (a.encoder.n_layers > 0) add(arch::lower_encoder(a));
  return names;
}

void check(const AdapterFile& adapter, const arch::Architecture& a, const std::string& where) {
  const std::vector<arch::WeightSpec> schema = arch::weight_schema(a);
  const std::set<std::string, std::less<>> linears = adaptable(a);
  if (adapter.low_rank.empty()) fail(where, "holds no low-rank tensors");
  for (const auto& [name, low_rank] : adapter.low_rank) {
    if (low_rank.a.empty() || low_rank.b.empty()) fail(where, "\"{}\" has only one of its two matrices", name);
    const std::string wanted = name + ".weight";
    const auto target =
        std::find_if(schema.begin(), schema.end(), [&](const auto& spec) { return spec.name == wanted; });
    // "blk.0.ffn_up.3": an expert's, or a head's.
    if (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back())) != 0) {
      fail(where, "targets \"{}\": adapters on experts are not supported", name);
    }
    if (target == schema.end() || !linears.contains(name)) {
      fail(where, "targets \"{}\", which is no linear layer of this model's blocks", name);
    }
    const Shape &sa = low_rank.a.shape, &sb = low_rank.b.shape;
    if (sa.rank() != 2 || sb.rank() != 2 || sa[0] == 0 || sa[0] != sb[1] || sa[1] != target->shape[1] ||
        sb[0] != target->shape[0]) {
      throw Error(fmt::format("\"{}\" is {} times {}, which does not fit a weight of {}", name, sb.text(), sa.text(),
                              target->shape.text()),
                  where, "the adapter belongs to another model");
    }
  }
}

}  // namespace

AdapterFile read_peft_adapter(std::string_view config_text, const std::string& config_name, const Bytes& bytes,
                              const arch::Architecture& a) {
  const arch::Family& family = arch::family_named(a.family, bytes.name());
  const SafetensorsFile file = read_safetensors_header(bytes);
  std::vector<std::string> modules;
  for (const SafetensorsEntry& entry : file.tensors) {
    if (const auto name = parse_peft_name(entry.name); name && name->is_a) modules.push_back(name->module);
  }
  const PeftConfig config(config_text, config_name, modules);
  AdapterFile adapter;
  for (const SafetensorsEntry& entry : file.tensors) {
    const auto name = parse_peft_name(entry.name);
    if (!name) fail(bytes.name(), "tensor \"{}\" is no lora_A or lora_B of a linear layer", entry.name);
    std::string canonical = arch::canonical_name(family, name->module + ".weight");
    if (canonical.empty()) canonical = arch::canonical_name(family, "transformer." + name->module + ".weight");
    if (canonical.empty())
      fail(bytes.name(), "tensor \"{}\" targets a layer that {} models do not have", entry.name, family.name);
    canonical.resize(canonical.size() - std::string_view(".weight").size());
    LowRankTensors& low_rank = adapter.low_rank[canonical];
    PackedTensor tensor = safetensors_tensor(bytes, file, entry);
    if (name->is_a) {
      const double divisor = config.divisor(name->module, std::max<std::uint64_t>(1, tensor.shape.rows()));
      low_rank.scale = finite_scale(config.alpha(name->module), divisor, config_name);
    }
    set_matrix(low_rank, name->is_a, std::move(tensor), bytes.name());
  }
  check(adapter, a, bytes.name());
  for (auto& [name, low_rank] : adapter.low_rank) {
    const arch::NameRule* rule = arch::name_rule(family, name + ".weight");
    if (rule != nullptr && rule->storage == arch::Storage::kGroupedQkv) low_rank.b = ungroup_qkv(low_rank.b, a);
  }
  follow_rope_layout(adapter, a, family.hf_rope_layout);
  return adapter;
}

AdapterFile read_gguf_adapter(const Bytes& bytes, const arch::Architecture& a) {
  const arch::Family& family = arch::family_named(a.family, bytes.name());
  const GgufFile file = read_gguf_header(bytes);
  const std::string& where = bytes.name();
  if (file.metadata.string("general.type").value_or("") != "adapter") fail(where, "is a GGUF model, not an adapter");
  if (const auto type = file.metadata.string("adapter.type").value_or("lora"); type != "lora") {
    fail(where, "is an adapter of type {}, only lora can be applied", type);
  }
  const auto family_name = file.metadata.string("general.architecture").value_or(std::string(family.gguf));
  if (family_name != family.gguf) fail(where, "is an adapter for {} models, this is a {}", family_name, family.gguf);
  const double alpha = file.metadata.number("adapter.lora.alpha").value_or(0);
  AdapterFile adapter;
  for (const GgufTensor& tensor : file.tensors) {
    const bool is_a = tensor.name.ends_with(".weight.lora_a");
    if (!is_a && !tensor.name.ends_with(".weight.lora_b"))
      fail(where, "tensor \"{}\" is no lora_a or lora_b", tensor.name);
    std::string weight = arch::canonical_name_of_gguf(
        family, tensor.name.substr(0, tensor.name.size() - std::string_view(".lora_a").size()));
    if (weight.ends_with(".weight")) weight.resize(weight.size() - std::string_view(".weight").size());
    LowRankTensors& low_rank = adapter.low_rank[weight];
    set_matrix(low_rank, is_a, gguf_tensor(bytes, file, tensor), where);
    const auto rank = static_cast<double>(std::max<std::uint64_t>(1, tensor.shape.rows()));
    if (is_a && alpha != 0) low_rank.scale = finite_scale(alpha, rank, where);
  }
  check(adapter, a, where);
  follow_rope_layout(adapter, a, family.gguf_rope_layout);
  return adapter;
}

AdapterFile load_adapter(const std::filesystem::path& path, const arch::Architecture& architecture) {
  const auto read_folder = [&](const std::filesystem::path& folder) {
    const std::filesystem::path config = folder / "adapter_config.json";
    return read_peft_adapter(read_file(config, kConfigLimit), config.string(),
                             map_file(folder / "adapter_model.safetensors"), architecture);
  };
  AdapterFile adapter;
  if (std::filesystem::is_directory(path)) {
    adapter = read_folder(path);
  } else if (path.filename() == "adapter_model.safetensors") {
    adapter = read_folder(path.has_parent_path() ? path.parent_path() : ".");
  } else {
    const Bytes bytes = map_file(path);
    if (!is_gguf(bytes)) {
      throw Error("is no adapter", path.string(), "expected a PEFT folder with adapter_config.json, or a GGUF adapter");
    }
    adapter = read_gguf_adapter(bytes, architecture);
  }
  adapter.path = path.string();
  return adapter;
}

}  // namespace lathe::formats
