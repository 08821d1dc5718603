// What several rows of the family table share.
#include <algorithm>

#include "arch/families/rows.h"
#include "base/checked.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

constexpr std::string_view kWindowed = "sliding_attention", kFull = "full_attention";

}  // namespace

double heads_of(const Architecture& a) { return a.n_heads; }
double width_by_heads(const Architecture& a) { return std::max(1u, a.width / std::max(1u, a.n_heads)); }
double four_widths(const Architecture& a) { return 4.0 * a.width; }

void refuse_unless(const Json& config, const char* key, bool wanted, const std::string& where) {
  if (json_get_or<bool>(config, key, wanted, where) != wanted) {
    fail(where, "\"{}\": {} is not supported", key, !wanted);
  }
}

std::vector<NameRule> llama_names() {
  return {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight"},
      {"blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight"},
      {"blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight"},
      {"blk.{}.attn_v.weight", "model.layers.{}.self_attn.v_proj.weight"},
      {"blk.{}.attn_q.bias", "model.layers.{}.self_attn.q_proj.bias"},
      {"blk.{}.attn_k.bias", "model.layers.{}.self_attn.k_proj.bias"},
      {"blk.{}.attn_v.bias", "model.layers.{}.self_attn.v_proj.bias"},
      {"blk.{}.attn_q_norm.weight", "model.layers.{}.self_attn.q_norm.weight"},
      {"blk.{}.attn_k_norm.weight", "model.layers.{}.self_attn.k_norm.weight"},
      {"blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"},
      {"blk.{}.attn_output.bias", "model.layers.{}.self_attn.o_proj.bias"},
      {"blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
      {"blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight"},
      {"blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight"},
      {"blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight"},
      {"blk.{}.ffn_gate.bias", "model.layers.{}.mlp.gate_proj.bias"},
      {"blk.{}.ffn_up.bias", "model.layers.{}.mlp.up_proj.bias"},
      {"blk.{}.ffn_down.bias", "model.layers.{}.mlp.down_proj.bias"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
  };
}

std::vector<Field> llama_fields() {
  return {
      {"hidden_size", ref<&Architecture::width>},
      {"intermediate_size", ref<&Architecture::ffn_width>},
      {"num_hidden_layers", ref<&Architecture::n_layers>},
      {"num_attention_heads", ref<&Architecture::n_heads>},
      {"num_key_value_heads", ref<&Architecture::n_kv_heads>, heads_of},
      {"head_dim", ref<&Architecture::head_dim>, width_by_heads},
      {"vocab_size", ref<&Architecture::vocab_size>, 32000.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 2048.0},
      {"rms_norm_eps", ref<&Architecture::norm_eps>, 1e-6},
      {"tie_word_embeddings", ref<&Architecture::tied_embeddings>, 0.0},
      {"hidden_act", ref<&Architecture::activation>},
  };
}

bool read_layer_types(const Json& config, Architecture& a, const std::string& where) {
  const auto types = json_get_or<std::vector<std::string>>(config, "layer_types", {}, where);
  if (types.empty()) return false;
  if (types.size() != a.n_layers) fail(where, "\"layer_types\" has {} entries for {} layers", types.size(), a.n_layers);
  a.full_layers.clear();
  for (const std::string& type : types) {
    if (type != kWindowed && type != kFull) {
      throw Error(fmt::format("the layer type \"{}\" is not supported", type), where,
                  fmt::format("known are {} and {}", kWindowed, kFull));
    }
    a.full_layers.push_back(type == kFull);
  }
  return true;
}

void write_layer_types(const Architecture& a, Json& config) {
  Json types = Json::array();
  for (std::uint32_t layer = 0; layer < a.n_layers; ++layer) {
    types.push_back(a.layer_window(layer) > 0 ? kWindowed : kFull);
  }
  config["layer_types"] = std::move(types);
}

void alternate_windows(Architecture& a, std::uint32_t period) {
  if (!a.full_layers.empty() || a.window == 0) return;
  for (std::uint32_t layer = 0; layer < std::min(a.n_layers, kMaxLayers); ++layer) {
    a.full_layers.push_back((layer + 1) % period == 0);
  }
}

}  // namespace lathe::arch
