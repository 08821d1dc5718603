// Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused q, k and v, fused gate and up, and LongRope for the long ones.
#include "arch/families/rows.h"
#include "base/json.h"

namespace lathe::arch {

Family phi3_family() {
  Family family;
  family.name = family.gguf = family.hf_model_type = "phi3";
  family.hf_class = "Phi3ForCausalLM";
  family.defaults.fused_qkv = family.defaults.fused_gate_up = true;
  family.names = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight"},
      {"blk.{}.attn_qkv.weight", "model.layers.{}.self_attn.qkv_proj.weight"},
      {"blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"},
      {"blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
      {"blk.{}.ffn_up.weight", "model.layers.{}.mlp.gate_up_proj.weight"},
      {"blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
  };
  family.fields = joined(llama_fields(), {{"sliding_window", ref<&Architecture::window>, None{}}});
  // transformers refuses more than three keys.
  family.write_hf = [](const Architecture& arch, Json& config) {
    const RopeScaling& scaling = arch.rope_scaling;
    if (scaling.kind != RopeScaling::Kind::kLongRope) return;
    if (scaling.original_context == 0 || scaling.attention_factor > 0 || scaling.factor != 1) return;
    for (const char* key : {"rope_type", "factor", "original_max_position_embeddings"})
      config["rope_scaling"].erase(key);
  };
  return family;
}

}  // namespace lathe::arch
