#include "formats/hf_config.h"

#include <algorithm>

#include "arch/families.h"
#include "base/checked.h"
#include "formats/hf_rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using Kind = arch::RopeScaling::Kind;

struct ActivationName {
  std::string_view name;
  ActivationKind kind;
};
// The first name of a kind is the one written.
constexpr ActivationName kActivations[] = {
    {"silu", ActivationKind::kSilu},
    {"swish", ActivationKind::kSilu},
    {"gelu", ActivationKind::kGelu},
    {"gelu_python", ActivationKind::kGelu},
    {"gelu_new", ActivationKind::kGeluTanh},
    {"gelu_pytorch_tanh", ActivationKind::kGeluTanh},
    {"gelu_fast", ActivationKind::kGeluTanh},
    {"gelu_accurate", ActivationKind::kGeluTanh},
    {"quick_gelu", ActivationKind::kGeluQuick},
    {"relu", ActivationKind::kRelu},
    {"relu2", ActivationKind::kRelu2},
};

ActivationKind activation_named(std::string_view name, const std::string& where) {
  for (const ActivationName& row : kActivations) {
    if (row.name == name) return row.kind;
  }
  std::string known;
  for (const ActivationName& row : kActivations) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  throw Error(fmt::format("the activation function \"{}\" is not supported", name), where, "known are " + known);
}

std::string_view activation_name(ActivationKind kind) {
  for (const ActivationName& row : kActivations) {
    if (row.kind == kind) return row.name;
  }
  return "silu";
}

// Reads sizes under a name or its alias; absent and null mean `otherwise`, 0 there means that the field is needed.
class Fields {
 public:
  Fields(const Json& config, const std::string& where) : config_(config), where_(where) {}

  std::uint32_t size(const char* name, const char* alias, std::uint32_t otherwise) const {
    for (const char* key : {name, alias}) {
      const auto it = key == nullptr ? config_.end() : config_.find(key);
      if (it == config_.end() || it->is_null()) continue;
      if (!it->is_number_unsigned()) fail(where_, "\"{}\" is not a non-negative integer", key);
      return narrow<std::uint32_t>(it->get<std::uint64_t>(), fmt::format("\"{}\"", key), where_);
    }
    if (otherwise == 0) fail(where_, "\"{}\" is missing", name);
    return otherwise;
  }
  float number(const char* name, float otherwise) const { return json_get_or<float>(config_, name, otherwise, where_); }
  bool flag(const char* name, bool otherwise) const { return json_get_or<bool>(config_, name, otherwise, where_); }
  std::string text(const char* name, std::string otherwise) const {
    return json_get_or<std::string>(config_, name, std::move(otherwise), where_);
  }

 private:
  const Json& config_;
  const std::string& where_;
};

// No model looks back further; stands for an absent or null window.
constexpr std::uint32_t kNoWindow = UINT32_MAX;

// Mistral's files differ from Llama's in their window alone (Jiang et al. 2023).
constexpr std::string_view kMistral = "mistral", kMistralClass = "MistralForCausalLM";
bool is_mistral(const Json& config, const std::string& where) {
  return json_get<std::string>(config, "model_type", where) == kMistral;
}

// The defaults are those of LlamaConfig.
void read_llama(const Json& config, Architecture& a, const std::string& where) {
  const Fields fields(config, where);
  a.width = fields.size("hidden_size", nullptr, 0);
  a.ffn_width = fields.size("intermediate_size", nullptr, 0);
  a.n_layers = fields.size("num_hidden_layers", nullptr, 0);
  a.n_heads = fields.size("num_attention_heads", nullptr, 0);
  a.n_kv_heads = fields.size("num_key_value_heads", nullptr, a.n_heads);
  a.head_dim = a.v_head_dim = fields.size("head_dim", nullptr, std::max(1u, a.width / a.n_heads));
  a.vocab_size = fields.size("vocab_size", nullptr, 32000);
  a.context_length = fields.size("max_position_embeddings", nullptr, 2048);
  a.norm_eps = fields.number("rms_norm_eps", 1e-6f);
  a.tied_embeddings = fields.flag("tie_word_embeddings", false);
  if (a.family != "qwen2") a.attention_bias = a.output_bias = fields.flag("attention_bias", false);
  a.ffn_bias = fields.flag("mlp_bias", false);
  // Mistral's window is always on; Qwen's only where the config says so.
  const bool mistral = is_mistral(config, where);
  if (mistral || fields.flag("use_sliding_window", false)) {
    a.window = fields.size("sliding_window", nullptr, kNoWindow) % kNoWindow;
    // Qwen's layers have the window from this one on.
    const std::uint32_t first = mistral ? 0 : json_get_or<std::uint32_t>(config, "max_window_layers", kNoWindow, where);
    if (first >= a.n_layers) a.window = 0;
    if (a.window > 0 && first > 0) fail(where, "sliding windows on only some layers are not supported");
  }
  a.activation = activation_named(fields.text("hidden_act", "silu"), where);
  rope_from_hf(config, a, where);
}

// The defaults are those of GPT2Config.
void read_gpt2(const Json& config, Architecture& a, const std::string& where) {
  const Fields fields(config, where);
  a.width = fields.size("n_embd", "hidden_size", 768);
  a.ffn_width = fields.size(
      "n_inner", nullptr, static_cast<std::uint32_t>(std::min<std::uint64_t>(4 * std::uint64_t{a.width}, UINT32_MAX)));
  a.n_layers = fields.size("n_layer", "num_hidden_layers", 12);
  a.n_heads = a.n_kv_heads = fields.size("n_head", "num_attention_heads", 12);
  a.head_dim = a.v_head_dim = a.width / a.n_heads;
  a.vocab_size = fields.size("vocab_size", nullptr, 50257);
  a.context_length = fields.size("n_positions", "n_ctx", 1024);
  a.norm_eps = fields.number("layer_norm_epsilon", 1e-5f);
  a.tied_embeddings = fields.flag("tie_word_embeddings", true);
  a.activation = activation_named(fields.text("activation_function", "gelu_new"), where);
  if (!fields.flag("scale_attn_weights", true)) a.attention_scale = 1;
  if (fields.flag("scale_attn_by_inverse_layer_idx", false)) fail(where, "attention scaled by layer is not supported");
  if (fields.flag("add_cross_attention", false)) fail(where, "cross-attention is not supported");
}

Json llama_config(const Architecture& a) {
  Json config;
  config["hidden_size"] = a.width;
  config["intermediate_size"] = a.ffn_width;
  config["num_hidden_layers"] = a.n_layers;
  config["num_attention_heads"] = a.n_heads;
  config["num_key_value_heads"] = a.n_kv_heads;
  config["head_dim"] = a.head_dim;
  config["vocab_size"] = a.vocab_size;
  config["max_position_embeddings"] = a.context_length;
  config["rms_norm_eps"] = json_number(a.norm_eps);
  config["tie_word_embeddings"] = a.tied_embeddings;
  if (a.family != "qwen2") config["attention_bias"] = a.attention_bias;
  if (a.window > 0) {
    config["sliding_window"] = a.window;
    if (a.family != "llama") config["use_sliding_window"] = true;
    if (a.family != "llama") config["max_window_layers"] = 0;
  }
  config["mlp_bias"] = a.ffn_bias;
  config["hidden_act"] = activation_name(a.activation);
  rope_to_hf(a, config);
  return config;
}

Json gpt2_config(const Architecture& a) {
  Json config;
  config["n_embd"] = a.width;
  config["n_inner"] = a.ffn_width;
  config["n_layer"] = a.n_layers;
  config["n_head"] = a.n_heads;
  config["vocab_size"] = a.vocab_size;
  config["n_positions"] = a.context_length;
  config["n_ctx"] = a.context_length;
  config["layer_norm_epsilon"] = json_number(a.norm_eps);
  config["tie_word_embeddings"] = a.tied_embeddings;
  config["activation_function"] = activation_name(a.activation);
  if (a.attention_scale == 1) config["scale_attn_weights"] = false;
  return config;
}

// What reading the file again gives must be the model itself.
void check_round_trip(const Architecture& a, const Json& config, const std::string& where) {
  Architecture again = architecture_from_hf(config, where);
  Architecture wanted = a;
  wanted.rope_layout = again.rope_layout;  // rows are reordered on writing
  wanted.name = again.name;
  // Single-precision numbers come back exactly, so a plain comparison is right.
  if (again == wanted) return;
  throw Error(
      fmt::format("a config.json of type \"{}\" cannot say this model (biases, scales, norms or head sizes differ "
                  "from what the type allows)",
                  config.at("model_type").get<std::string>()),
      where, "save as .lathe or .gguf");
}

}  // namespace

Architecture architecture_from_hf(const Json& config, const std::string& where) {
  if (!config.is_object()) fail(where, "is not a JSON object");
  const auto type = json_get<std::string>(config, "model_type", where);
  const arch::Family* family = arch::find_family_by_hf(type == kMistral ? "llama" : type);
  if (family == nullptr) family = &arch::family_named(type, where);
  Architecture a = family->defaults;
  a.family = family->name;
  a.rope_layout = RopeLayout::kHalves;
  a.name = json_get_or<std::string>(config, "_name_or_path", "", where);
  if (Fields(config, where)
          .size(family->name == "gpt2" ? "n_head" : "num_attention_heads", "num_attention_heads", 12) == 0) {
    fail(where, "head count is 0, expected at least 1");
  }
  if (family->name == "gpt2") {
    read_gpt2(config, a, where);
  } else {
    read_llama(config, a, where);
  }
  arch::validate(a, where);
  return a;
}

Json architecture_to_hf(const Architecture& a, const std::string& torch_dtype, const std::string& where) {
  const arch::Family& family = arch::family_named(a.family, where);
  Json config;
  const bool mistral = a.family == "llama" && a.window > 0;
  config["architectures"] = {mistral ? kMistralClass : family.hf_class};
  config["model_type"] = mistral ? kMistral : family.hf_model_type;
  if (!a.name.empty()) config["_name_or_path"] = a.name;
  config.update(family.name == "gpt2" ? gpt2_config(a) : llama_config(a));
  config["torch_dtype"] = torch_dtype;
  config["use_cache"] = true;
  check_round_trip(a, config, where);
  return config;
}

}  // namespace lathe::formats
