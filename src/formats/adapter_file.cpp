#include "formats/adapter_file.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>

#include "arch/families.h"
#include "arch/weights.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/gguf_reader.h"
#include "formats/safetensors_reader.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kConfigLimit = 1 << 20;

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

// What adapter_config.json says about scales; refuses what plain low rank cannot express.
class PeftConfig {
 public:
  explicit PeftConfig(const std::filesystem::path& path)
      : where_(path.string()), json_(parse_json(read_file(path, kConfigLimit), where_)) {
    if (!json_.is_object()) fail(where_, "is no JSON object");
    const auto type = json_get_or<std::string>(json_, "peft_type", "LORA", where_);
    if (type != "LORA") fail(where_, "is an adapter of type {}, only LORA can be applied", type);
    if (json_get_or<bool>(json_, "use_dora", false, where_))
      fail(where_, "is a DoRA adapter, which is more than a low-rank update");
    if (const auto bias = json_get_or<std::string>(json_, "bias", "none", where_); bias != "none") {
      fail(where_, "trains biases (\"bias\": \"{}\"), which a low-rank update cannot hold", bias);
    }
    if (const auto saved = json_.find("modules_to_save"); saved != json_.end() && !saved->empty()) {
      fail(where_, "saves whole modules (\"modules_to_save\"), which a low-rank update cannot hold");
    }
    alpha_ = json_get_or<double>(json_, "lora_alpha", 8, where_);
    rs_ = json_get_or<bool>(json_, "use_rslora", false, where_);
  }

  float scale(const std::string& module, std::uint64_t rank) const {
    double alpha = alpha_;
    if (const auto pattern = json_.find("alpha_pattern"); pattern != json_.end() && pattern->is_object()) {
      for (const auto& [suffix, value] : pattern->items()) {
        if (module == suffix || module.ends_with("." + suffix))
          alpha = json_get<double>(*pattern, suffix.c_str(), where_);
      }
    }
    const double divisor = rs_ ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank);
    if (!std::isfinite(alpha)) fail(where_, "lora_alpha is {}", alpha);
    return static_cast<float>(alpha / divisor);
  }

 private:
  std::string where_;
  Json json_;
  double alpha_ = 8;
  bool rs_ = false;
};

// The rows of B are rows of the query and key weights: they follow the model's RoPE layout.
void follow_rope_layout(AdapterFile& adapter, const arch::Architecture& a, RopeLayout from) {
  for (auto& [name, low_rank] : adapter.low_rank) {
    const bool q = name.ends_with(".attn_q"), k = name.ends_with(".attn_k");
    if ((q || k) && !low_rank.b.empty() && low_rank.b.shape.rows() == (q ? a.q_width() : a.k_width())) {
      low_rank.b = change_rope_layout(low_rank.b, a, q ? a.n_heads : a.n_kv_heads, from, a.rope_layout);
    }
  }
}

AdapterFile read_peft(const std::filesystem::path& folder, const arch::Architecture& a, const arch::Family& family) {
  const PeftConfig config(folder / "adapter_config.json");
  const Bytes bytes = map_file(folder / "adapter_model.safetensors");
  const SafetensorsFile file = read_safetensors_header(bytes);
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
    if (name->is_a) low_rank.scale = config.scale(name->module, std::max<std::uint64_t>(1, tensor.shape.rows()));
    (name->is_a ? low_rank.a : low_rank.b) = std::move(tensor);
  }
  follow_rope_layout(adapter, a, RopeLayout::kHalves);  // as all Hugging Face checkpoints
  return adapter;
}

AdapterFile read_gguf_adapter(const Bytes& bytes, const arch::Architecture& a, const arch::Family& family) {
  const GgufFile file = read_gguf_header(bytes);
  const std::string& where = bytes.name();
  if (file.metadata.string("general.type").value_or("") != "adapter") fail(where, "is a GGUF model, not an adapter");
  if (const auto type = file.metadata.string("adapter.type").value_or("lora"); type != "lora") {
    fail(where, "is an adapter of type {}, only lora can be applied", type);
  }
  const auto family_name = file.metadata.string("general.architecture").value_or(std::string(family.name));
  if (family_name != family.name) fail(where, "is an adapter for {} models, this is a {}", family_name, family.name);
  const double alpha = file.metadata.number("adapter.lora.alpha").value_or(0);
  if (!std::isfinite(alpha)) fail(where, "adapter.lora.alpha is {}", alpha);
  AdapterFile adapter;
  for (const GgufTensor& tensor : file.tensors) {
    const bool is_a = tensor.name.ends_with(".weight.lora_a");
    if (!is_a && !tensor.name.ends_with(".weight.lora_b"))
      fail(where, "tensor \"{}\" is no lora_a or lora_b", tensor.name);
    LowRankTensors& low_rank =
        adapter.low_rank[tensor.name.substr(0, tensor.name.size() - std::string_view(".weight.lora_a").size())];
    (is_a ? low_rank.a : low_rank.b) = gguf_tensor(bytes, file, tensor);
    if (is_a && alpha != 0)
      low_rank.scale = static_cast<float>(alpha / static_cast<double>(std::max<std::uint64_t>(1, tensor.shape.rows())));
  }
  follow_rope_layout(adapter, a, family.gguf_rope_layout);
  return adapter;
}

void check(const AdapterFile& adapter, const arch::Architecture& a) {
  const std::vector<arch::WeightSpec> schema = arch::weight_schema(a);
  if (adapter.low_rank.empty()) fail(adapter.path, "holds no low-rank tensors");
  for (const auto& [name, low_rank] : adapter.low_rank) {
    if (low_rank.a.empty() || low_rank.b.empty()) fail(adapter.path, "\"{}\" has only one of its two matrices", name);
    const std::string wanted = name + ".weight";
    const auto target =
        std::find_if(schema.begin(), schema.end(), [&](const auto& spec) { return spec.name == wanted; });
    // Embeddings are looked up, not multiplied, and the head runs after the rows of a batch were picked.
    const bool outside = name == "token_embd" || name == "position_embd" || name == "output";
    // "blk.0.ffn_up.3": an expert's, or a head's.
    if (!name.empty() && std::isdigit(static_cast<unsigned char>(name.back())) != 0) {
      fail(adapter.path, "targets \"{}\": adapters on experts are not supported", name);
    }
    if (target == schema.end() || target->shape.rank() != 2 || outside) {
      fail(adapter.path, "targets \"{}\", which is no linear layer of this model's blocks", name);
    }
    const Shape &sa = low_rank.a.shape, &sb = low_rank.b.shape;
    if (sa.rank() != 2 || sb.rank() != 2 || sa[0] == 0 || sa[0] != sb[1] || sa[1] != target->shape[1] ||
        sb[0] != target->shape[0]) {
      throw Error(fmt::format("\"{}\" is {} times {}, which does not fit a weight of {}", name, sb.text(), sa.text(),
                              target->shape.text()),
                  adapter.path, "the adapter belongs to another model");
    }
  }
}

}  // namespace

AdapterFile load_adapter(const std::filesystem::path& path, const arch::Architecture& architecture) {
  const arch::Family& family = arch::family_named(architecture.family, path.string());
  AdapterFile adapter;
  if (std::filesystem::is_directory(path)) {
    adapter = read_peft(path, architecture, family);
  } else if (path.filename() == "adapter_model.safetensors") {
    adapter = read_peft(path.has_parent_path() ? path.parent_path() : ".", architecture, family);
  } else {
    const Bytes bytes = map_file(path);
    if (!is_gguf(bytes)) {
      throw Error("is no adapter", path.string(), "expected a PEFT folder with adapter_config.json, or a GGUF adapter");
    }
    adapter = read_gguf_adapter(bytes, architecture, family);
  }
  adapter.path = path.string();
  check(adapter, architecture);
  return adapter;
}

}  // namespace lathe::formats
