// Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused q, k and v, fused gate and up, and LongRope for the long ones.
#include "arch/families/rows.h"

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
  family.fields = joined(llama_fields(), {{"sliding_window", ref<&Architecture::window>, 0.0}});
  return family;
}

}  // namespace lathe::arch
