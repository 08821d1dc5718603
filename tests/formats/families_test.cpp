// Every family through GGUF and Hugging Face layouts, and configurations as published models have them (written from
// knowledge of those models; docs/families.md says which were compared with copies of the published files).
#include <gtest/gtest.h>

#include <algorithm>

#include "arch/families.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/architecture_json.h"
#include "formats/hf_config.h"
#include "formats/model_file.h"
#include "formats/safetensors_writer.h"
#include "formats/synth.h"
#include "formats/tensor_layout.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using arch::Architecture;

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const arch::Family& family : arch::families()) names.emplace_back(family.name);
  return names;
}

void expect_same(const ModelFile& a, const ModelFile& b) {
  Architecture again = b.architecture;
  again.rope_layout = a.architecture.rope_layout;
  again.name = a.architecture.name;
  EXPECT_EQ(again, a.architecture) << architecture_to_json(again).dump() << "\n"
                                   << architecture_to_json(a.architecture).dump();
  ASSERT_EQ(a.weights.all().size(), b.weights.all().size());
  for (const auto& [name, tensor] : a.weights.all()) {
    ASSERT_EQ(tensor.shape, b.weights.at(name).shape) << name;
    ASSERT_EQ(tensor.to_floats(), b.weights.at(name).to_floats()) << name;
  }
}

class FamilyFiles : public testing::TestWithParam<std::string> {};

TEST_P(FamilyFiles, KeepEveryWeightFromLayoutToLayout) {
  const test::TempDir folder;
  Architecture a = arch::small_shape(arch::family_named(GetParam(), "test"));
  a.vocab_size = 600;
  synthesize(a, folder / "a.gguf", {.codec = "F32", .seed = 5});
  const ModelFile first = load_model(folder / "a.gguf");
  EXPECT_EQ(first.architecture, a) << architecture_to_json(first.architecture).dump();
  save_model(first, folder / "b.lathe");
  expect_same(first, load_model(folder / "b.lathe"));
  if (GetParam() == "gpt-oss") {  // experts that checkpoints hold as one MXFP4 tensor with gates and ups interleaved
    EXPECT_THROW(save_model(first, folder / "hf"), Error);
    return;
  }
  save_model(first, folder / "hf");
  const ModelFile hugging_face = load_model(folder / "hf");
  save_model(hugging_face, folder / "c.gguf");
  expect_same(first, load_model(folder / "c.gguf"));
}

// The experts of a layer are one tensor in a GGUF file, whatever their codec.
TEST_P(FamilyFiles, KeepQuantizedWeights) {
  const test::TempDir folder;
  Architecture a = arch::small_shape(arch::family_named(GetParam(), "test"));
  a.vocab_size = 600;
  synthesize(a, folder / "a.gguf", {.codec = "Q8_0", .seed = 5});
  const ModelFile first = load_model(folder / "a.gguf");
  save_model(first, folder / "b.gguf");
  expect_same(first, load_model(folder / "b.gguf"));
}

INSTANTIATE_TEST_SUITE_P(All, FamilyFiles, testing::ValuesIn(family_names()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Published configurations, less what does not describe the network.
struct Published {
  const char* name;
  const char* family;
  const char* json;
  void (*check)(const Architecture&);
};

const Published kPublished[] = {
    {"mixtral_8x7b", "mixtral",
     R"({"model_type":"mixtral","hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
"max_position_embeddings":32768,"num_attention_heads":32,"num_experts_per_tok":2,"num_hidden_layers":32,
"num_key_value_heads":8,"num_local_experts":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,
"tie_word_embeddings":false,"vocab_size":32000})",
     [](const Architecture& a) {
       EXPECT_EQ(a.moe.n_experts, 8u);
       EXPECT_EQ(a.moe.ffn_width, 14336u);
       EXPECT_TRUE(a.moe.normalize);
       EXPECT_EQ(a.window, 0u);
     }},
    {"qwen1_5_moe", "qwen2moe",
     R"({"model_type":"qwen2_moe","hidden_act":"silu","hidden_size":2048,"intermediate_size":5632,
"max_position_embeddings":32768,"max_window_layers":21,"num_attention_heads":16,"num_hidden_layers":24,
"num_key_value_heads":16,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,
"tie_word_embeddings":false,"use_sliding_window":false,"vocab_size":151936,"decoder_sparse_step":1,
"moe_intermediate_size":1408,"shared_expert_intermediate_size":5632,"num_experts_per_tok":4,"num_experts":60,
"norm_topk_prob":false})",
     [](const Architecture& a) {
       EXPECT_EQ(a.moe.shared_ffn_width, 5632u);
       EXPECT_TRUE(a.moe.shared_gate && a.attention_bias && !a.moe.normalize);
     }},
    {"t5_small", "t5",
     R"({"architectures":["T5ForConditionalGeneration"],"d_ff":2048,"d_kv":64,"d_model":512,"decoder_start_token_id":0,
"dropout_rate":0.1,"eos_token_id":1,"is_encoder_decoder":true,"layer_norm_epsilon":1e-06,"model_type":"t5",
"n_positions":512,"num_heads":8,"num_layers":6,"pad_token_id":0,"relative_attention_num_buckets":32,
"vocab_size":32128})",
     [](const Architecture& a) {
       EXPECT_EQ(a.n_layers, 6u);
       EXPECT_EQ(a.encoder, (arch::Encoder{6, 0, 0}));
       EXPECT_EQ(a.relative, (arch::RelativeBias{32, 128}));
       EXPECT_TRUE(a.tied_embeddings && !a.gated_ffn);
       EXPECT_EQ(a.activation, ActivationKind::kRelu);
       EXPECT_FLOAT_EQ(a.logit_scale, 0.04419417f);
       EXPECT_EQ(a.attention_scale, 1);
     }},
    {"flan_t5_small", "flan-t5",
     R"({"architectures":["T5ForConditionalGeneration"],"d_ff":1024,"d_kv":64,"d_model":512,"decoder_start_token_id":0,
"feed_forward_proj":"gated-gelu","is_encoder_decoder":true,"layer_norm_epsilon":1e-06,"model_type":"t5",
"n_positions":512,"num_decoder_layers":8,"num_heads":6,"num_layers":8,"relative_attention_max_distance":128,
"relative_attention_num_buckets":32,"tie_word_embeddings":false,"vocab_size":32128})",
     [](const Architecture& a) {
       EXPECT_EQ(a.n_heads * a.head_dim, 384u);
       EXPECT_EQ(a.encoder.n_layers, 8u);
       EXPECT_TRUE(a.gated_ffn && !a.tied_embeddings);
       EXPECT_EQ(a.activation, ActivationKind::kGeluTanh);
       EXPECT_EQ(a.logit_scale, 1);
     }},
    {"qwen3_30b_a3b", "qwen3moe",
     R"({"model_type":"qwen3_moe","attention_bias":false,"decoder_sparse_step":1,"head_dim":128,"hidden_act":"silu",
"hidden_size":2048,"intermediate_size":6144,"max_position_embeddings":40960,"max_window_layers":48,
"mlp_only_layers":[],"moe_intermediate_size":768,"norm_topk_prob":true,"num_attention_heads":32,"num_experts":128,
"num_experts_per_tok":8,"num_hidden_layers":48,"num_key_value_heads":4,"rms_norm_eps":1e-06,"rope_scaling":null,
"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"use_sliding_window":false,
"vocab_size":151936})",
     [](const Architecture& a) {
       EXPECT_TRUE(a.qk_norm && a.moe.normalize);
       EXPECT_EQ(a.head_dim, 128u);
     }},
    {"phi_2", "phi2",
     R"({"model_type":"phi","hidden_act":"gelu_new","hidden_size":2560,"intermediate_size":10240,
"layer_norm_eps":1e-05,"max_position_embeddings":2048,"num_attention_heads":32,"num_hidden_layers":32,
"num_key_value_heads":32,"partial_rotary_factor":0.4,"qk_layernorm":false,"rope_scaling":null,"rope_theta":10000.0,
"tie_word_embeddings":false,"vocab_size":51200})",
     [](const Architecture& a) { EXPECT_EQ(a.rotary_dim, 32u); }},
    {"phi_3_mini_4k", "phi3",
     R"({"model_type":"phi3","hidden_act":"silu","hidden_size":3072,"intermediate_size":8192,
"max_position_embeddings":4096,"num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,
"original_max_position_embeddings":4096,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,
"sliding_window":2047,"attention_bias":false,"tie_word_embeddings":false,"vocab_size":32064})",
     [](const Architecture& a) {
       EXPECT_EQ(a.window, 2047u);
       EXPECT_TRUE(a.fused_qkv && a.fused_gate_up);
     }},
    {"gemma_2b", "gemma",
     R"({"model_type":"gemma","head_dim":256,"hidden_act":"gelu","hidden_size":2048,"intermediate_size":16384,
"max_position_embeddings":8192,"num_attention_heads":8,"num_hidden_layers":18,"num_key_value_heads":1,
"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":10000.0,"vocab_size":256000})",
     [](const Architecture& a) {
       EXPECT_FLOAT_EQ(a.embedding_scale, 45.254834f);
       EXPECT_EQ(a.activation, ActivationKind::kGeluTanh);
       EXPECT_TRUE(a.tied_embeddings);
     }},
    {"gemma_2_27b", "gemma2",
     R"({"model_type":"gemma2","attention_bias":false,"attn_logit_softcapping":50.0,"final_logit_softcapping":30.0,
"head_dim":128,"hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh","hidden_size":4608,
"intermediate_size":36864,"max_position_embeddings":8192,"num_attention_heads":32,"num_hidden_layers":46,
"num_key_value_heads":16,"query_pre_attn_scalar":144,"rms_norm_eps":1e-06,"rope_theta":10000.0,
"sliding_window":4096,"vocab_size":256000})",
     [](const Architecture& a) {
       EXPECT_FLOAT_EQ(a.attention_scale, 1.f / 12);
       EXPECT_EQ(a.layer_window(0), 4096u);
       EXPECT_EQ(a.layer_window(1), 0u);
       EXPECT_EQ(a.attention_softcap, 50);
     }},
    {"gemma_3_1b", "gemma3",
     R"({"model_type":"gemma3_text","attention_bias":false,"attn_logit_softcapping":null,
"final_logit_softcapping":null,"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":1152,
"intermediate_size":6912,"max_position_embeddings":32768,"num_attention_heads":4,"num_hidden_layers":26,
"num_key_value_heads":1,"query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_local_base_freq":10000,
"rope_scaling":null,"rope_theta":1000000,"sliding_window":512,"sliding_window_pattern":6,"vocab_size":262144})",
     [](const Architecture& a) {
       EXPECT_EQ(a.attention_scale, 0);
       EXPECT_EQ(a.layer_window(4), 512u);
       EXPECT_EQ(a.layer_window(5), 0u);
       EXPECT_EQ(a.window_rope_theta, 10000);
       EXPECT_EQ(a.rope_theta, 1000000);
     }},
    {"gpt_j_6b", "gptj",
     R"({"model_type":"gptj","activation_function":"gelu_new","layer_norm_epsilon":1e-05,"n_embd":4096,"n_head":16,
"n_inner":null,"n_layer":28,"n_positions":2048,"rotary":true,"rotary_dim":64,"scale_attn_weights":true,
"tie_word_embeddings":false,"vocab_size":50400})",
     [](const Architecture& a) {
       EXPECT_EQ(a.rotary_dim, 64u);
       EXPECT_EQ(a.rope_layout, RopeLayout::kInterleaved);
       EXPECT_EQ(a.ffn_width, 16384u);
     }},
    {"pythia_160m", "gptneox",
     R"({"model_type":"gpt_neox","hidden_act":"gelu","hidden_size":768,"intermediate_size":3072,
"layer_norm_eps":1e-05,"max_position_embeddings":2048,"num_attention_heads":12,"num_hidden_layers":12,
"rotary_emb_base":10000,"rotary_pct":0.25,"tie_word_embeddings":false,"use_parallel_residual":true,
"vocab_size":50304})",
     [](const Architecture& a) {
       EXPECT_EQ(a.rotary_dim, 16u);
       EXPECT_TRUE(a.parallel_block && a.ffn_norm);
     }},
    {"opt_125m", "opt",
     R"({"model_type":"opt","activation_function":"relu","do_layer_norm_before":true,"ffn_dim":3072,
"hidden_size":768,"max_position_embeddings":2048,"num_attention_heads":12,"num_hidden_layers":12,
"vocab_size":50272,"word_embed_proj_dim":768})",
     [](const Architecture& a) {
       EXPECT_EQ(a.position_offset, 2u);
       EXPECT_EQ(a.activation, ActivationKind::kRelu);
     }},
    {"bloom_560m", "bloom",
     R"({"model_type":"bloom","apply_residual_connection_post_layernorm":false,"layer_norm_epsilon":1e-05,
"n_embed":1024,"num_attention_heads":16,"n_layer":24,"seq_length":2048,"vocab_size":250880})",
     [](const Architecture& a) {
       EXPECT_EQ(a.width, 1024u);
       EXPECT_EQ(a.n_heads, 16u);
       EXPECT_EQ(a.position, arch::PositionKind::kAlibi);
     }},
    {"falcon_7b", "falcon",
     R"({"model_type":"falcon","alibi":false,"bias":false,"hidden_size":4544,"layer_norm_epsilon":1e-05,
"multi_query":true,"new_decoder_architecture":false,"num_attention_heads":71,"num_hidden_layers":32,
"parallel_attn":true,"vocab_size":65024})",
     [](const Architecture& a) {
       EXPECT_EQ(a.n_kv_heads, 1u);
       EXPECT_EQ(a.head_dim, 64u);
       EXPECT_FALSE(a.ffn_norm);
     }},
    {"falcon_40b", "falcon-40b",
     R"({"model_type":"falcon","alibi":false,"bias":false,"hidden_size":8192,"layer_norm_epsilon":1e-05,
"new_decoder_architecture":true,"num_attention_heads":128,"num_hidden_layers":60,"num_kv_heads":8,
"parallel_attn":true,"vocab_size":65024})",
     [](const Architecture& a) {
       EXPECT_EQ(a.n_kv_heads, 8u);
       EXPECT_TRUE(a.ffn_norm && a.parallel_block);
     }},
    {"stablelm_2_1_6b", "stablelm",
     R"({"model_type":"stablelm","hidden_act":"silu","hidden_size":2048,"intermediate_size":5632,
"max_position_embeddings":4096,"layer_norm_eps":1e-05,"num_attention_heads":32,"num_hidden_layers":24,
"num_key_value_heads":32,"partial_rotary_factor":0.25,"rope_theta":10000,"tie_word_embeddings":false,
"use_qkv_bias":true,"vocab_size":100352})",
     [](const Architecture& a) {
       EXPECT_EQ(a.rotary_dim, 16u);
       EXPECT_TRUE(a.attention_bias && !a.output_bias && a.ffn_norm);
     }},
    {"deepseek_v2_lite", "deepseek2",
     R"({"model_type":"deepseek_v2","attention_bias":false,"first_k_dense_replace":1,"hidden_act":"silu",
"hidden_size":2048,"intermediate_size":10944,"kv_lora_rank":512,"max_position_embeddings":163840,
"moe_intermediate_size":1408,"moe_layer_freq":1,"n_group":1,"n_routed_experts":64,"n_shared_experts":2,
"norm_topk_prob":false,"num_attention_heads":16,"num_experts_per_tok":6,"num_hidden_layers":27,
"num_key_value_heads":16,"q_lora_rank":null,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"rms_norm_eps":1e-06,
"rope_scaling":{"beta_fast":32,"beta_slow":1,"factor":40,"mscale":0.707,"mscale_all_dim":0.707,
"original_max_position_embeddings":4096,"type":"yarn"},"rope_theta":10000,"routed_scaling_factor":1.0,
"scoring_func":"softmax","tie_word_embeddings":false,"topk_group":1,"topk_method":"greedy","v_head_dim":128,
"vocab_size":102400})",
     [](const Architecture& a) {
       EXPECT_EQ(a.mla.kv_rank, 512u);
       EXPECT_EQ(a.mla.q_rank, 0u);
       EXPECT_EQ(a.head_dim, 192u);
       EXPECT_EQ(a.moe.shared_ffn_width, 2816u);
       // (0.1 * 0.707 * ln 40 + 1)^2 / sqrt(192)
       EXPECT_NEAR(a.attention_scale, 0.1147213, 1e-6);
       EXPECT_EQ(a.rope_scaling.attention_factor, 1);
     }},
    {"deepseek_v3", "deepseek3",
     R"({"model_type":"deepseek_v3","attention_bias":false,"first_k_dense_replace":3,"hidden_act":"silu",
"hidden_size":7168,"intermediate_size":18432,"kv_lora_rank":512,"max_position_embeddings":163840,
"moe_intermediate_size":2048,"moe_layer_freq":1,"n_group":8,"n_routed_experts":256,"n_shared_experts":1,
"norm_topk_prob":true,"num_attention_heads":128,"num_experts_per_tok":8,"num_hidden_layers":61,
"num_key_value_heads":128,"num_nextn_predict_layers":1,"q_lora_rank":1536,"qk_nope_head_dim":128,
"qk_rope_head_dim":64,"rms_norm_eps":1e-06,"rope_scaling":{"beta_fast":32,"beta_slow":1,"factor":40,"mscale":1.0,
"mscale_all_dim":1.0,"original_max_position_embeddings":4096,"type":"yarn"},"rope_theta":10000,
"routed_scaling_factor":2.5,"scoring_func":"sigmoid","tie_word_embeddings":false,"topk_group":4,
"topk_method":"noaux_tc","v_head_dim":128,"vocab_size":129280})",
     [](const Architecture& a) {
       EXPECT_EQ(a.moe.n_groups, 8u);
       EXPECT_EQ(a.moe.top_groups, 4u);
       EXPECT_EQ(a.moe.score, RouterScore::kSigmoid);
       EXPECT_TRUE(a.moe.correction_bias);
       EXPECT_EQ(a.moe.scale, 2.5f);
       EXPECT_NEAR(a.attention_scale, 0.1352338, 1e-6);
     }},
    {"gpt_oss_20b", "gpt-oss",
     R"({"model_type":"gpt_oss","attention_bias":true,"head_dim":64,"hidden_act":"silu","hidden_size":2880,
"intermediate_size":2880,"layer_types":["sliding_attention","full_attention"],"max_position_embeddings":131072,
"num_attention_heads":64,"num_experts_per_tok":4,"num_hidden_layers":2,"num_key_value_heads":8,
"num_local_experts":32,"rms_norm_eps":1e-05,"rope_scaling":{"beta_fast":32.0,"beta_slow":1.0,"factor":32.0,
"original_max_position_embeddings":4096,"rope_type":"yarn","truncate":false},"rope_theta":150000,
"sliding_window":128,"swiglu_limit":7.0,"tie_word_embeddings":false,"vocab_size":201088})",
     [](const Architecture& a) {
       EXPECT_TRUE(a.attention_sinks && a.output_bias && a.moe.expert_bias && a.moe.router_bias);
       EXPECT_FALSE(a.rope_scaling.truncate);
       EXPECT_EQ(a.layer_window(0), 128u);
       EXPECT_EQ(a.layer_window(1), 0u);
       EXPECT_EQ(a.moe.score, RouterScore::kSoftmaxOfChosen);
     }},
    {"qwen2_5_7b", "qwen2",
     R"({"model_type":"qwen2","hidden_act":"silu","hidden_size":3584,"intermediate_size":18944,
"max_position_embeddings":32768,"max_window_layers":28,"num_attention_heads":28,"num_hidden_layers":28,
"num_key_value_heads":4,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":131072,
"tie_word_embeddings":false,"use_sliding_window":false,"vocab_size":152064})",
     [](const Architecture& a) { EXPECT_TRUE(a.attention_bias && a.window == 0); }},
    {"all_minilm_l6_v2", "bert",
     R"({"model_type":"bert","hidden_act":"gelu","hidden_size":384,"intermediate_size":1536,"layer_norm_eps":1e-12,
"max_position_embeddings":512,"num_attention_heads":12,"num_hidden_layers":6,"pad_token_id":0,
"position_embedding_type":"absolute","type_vocab_size":2,"vocab_size":30522})",
     [](const Architecture& a) {
       EXPECT_TRUE(!a.causal && !a.output_head && a.stream_norms && a.embedding_norm);
       EXPECT_EQ(a.head_dim, 32u);
       EXPECT_EQ(a.token_types, 2u);
       EXPECT_EQ(a.activation, ActivationKind::kGelu);
     }},
    {"roberta_base", "roberta",
     R"({"model_type":"roberta","hidden_act":"gelu","hidden_size":768,"intermediate_size":3072,
"layer_norm_eps":1e-05,"max_position_embeddings":514,"num_attention_heads":12,"num_hidden_layers":12,
"pad_token_id":1,"type_vocab_size":1,"vocab_size":50265})",
     [](const Architecture& a) {
       EXPECT_EQ(a.context_length, 512u);
       EXPECT_EQ(a.token_types, 1u);
     }},
    {"nomic_embed_text_v1_5", "nomic-bert",
     R"({"model_type":"nomic_bert","activation_function":"swiglu","layer_norm_epsilon":1e-12,"max_trained_positions":2048,
"mlp_fc1_bias":false,"mlp_fc2_bias":false,"n_embd":768,"n_head":12,"n_inner":3072,"n_layer":12,"n_positions":8192,
"parallel_block":false,"prenorm":false,"qkv_proj_bias":false,"rotary_emb_base":1000,"rotary_emb_fraction":1.0,
"rotary_emb_interleaved":false,"rotary_emb_scale_base":null,"type_vocab_size":2,"use_rms_norm":false,"vocab_size":30528})",
     [](const Architecture& a) {
       EXPECT_TRUE(!a.causal && a.stream_norms && a.gated_ffn && a.fused_qkv && !a.attention_bias && a.norm_bias);
       EXPECT_EQ(a.rotary_dim, 64u);
       EXPECT_EQ(a.rope_theta, 1000);
       EXPECT_EQ(a.context_length, 2048u);
     }},
    {"mistral_7b_v0_1", "mistral",
     R"({"model_type":"mistral","hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
"max_position_embeddings":32768,"num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,
"rms_norm_eps":1e-05,"rope_theta":10000.0,"sliding_window":4096,"tie_word_embeddings":false,"vocab_size":32000})",
     [](const Architecture& a) { EXPECT_EQ(a.layer_window(31), 4096u); }},
};

class PublishedConfig : public testing::TestWithParam<Published> {};

TEST_P(PublishedConfig, IsReadAndWritten) {
  const Architecture a = architecture_from_hf(parse_json(GetParam().json, "config"), "config.json");
  EXPECT_EQ(a.family, GetParam().family);
  GetParam().check(a);
  const Json written = architecture_to_hf(a, "bfloat16", "out");
  EXPECT_EQ(architecture_from_hf(parse_json(written.dump(), "again"), "again"), a) << written.dump();
  EXPECT_EQ(architecture_from_json(parse_json(architecture_to_json(a).dump(), "json"), "json"), a);
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedConfig, testing::ValuesIn(kPublished),
                         [](const auto& info) { return std::string(info.param.name); });

// Rows of the fused matrix as Falcon's checkpoints order them: two groups of two queries, a key and a value.
TEST(GroupedQkv, IsSortedIntoQueriesKeysAndValues) {
  Architecture a;
  a.n_heads = 4, a.n_kv_heads = 2, a.head_dim = a.v_head_dim = 2;
  const PackedTensor stored = pack("t", codec_named("F32"), Shape{16, 1},
                                   std::vector<float>{0, 1, 2, 3, 20, 21, 30, 31, 4, 5, 6, 7, 22, 23, 32, 33});
  const PackedTensor sorted = ungroup_qkv(stored, a);
  EXPECT_EQ(sorted.to_floats(), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23, 30, 31, 32, 33}));
  EXPECT_EQ(group_qkv(sorted, a).to_floats(), stored.to_floats());
}

// Every way a configuration of experts or latents can be impossible.
TEST(BadExperts, AreRefusedByName) {
  const auto config = [](const char* name) {
    for (const Published& published : kPublished) {
      if (published.name == std::string_view(name)) return parse_json(published.json, "config");
    }
    throw std::logic_error(name);
  };
  struct Case {
    const char *model, *key, *value, *fault;
  };
  const Case cases[] = {
      {"mixtral_8x7b", "num_local_experts", "0", "expert count is 0"},
      {"mixtral_8x7b", "num_experts_per_tok", "9", "number of experts per token is 9"},
      {"mixtral_8x7b", "num_experts_per_tok", "0", "number of experts per token is 0"},
      {"mixtral_8x7b", "num_local_experts", "4294967295", "expert count is"},
      {"qwen3_30b_a3b", "moe_intermediate_size", "0", "feed-forward width of experts is 0"},
      {"qwen3_30b_a3b", "moe_intermediate_size", "null", "\"moe_intermediate_size\" is missing"},
      {"qwen3_30b_a3b", "decoder_sparse_step", "2", "experts on only some layers"},
      {"deepseek_v3", "n_group", "7", "256 experts do not divide into 7 groups"},
      {"deepseek_v3", "n_group", "0", "number of expert groups is 0"},
      {"deepseek_v3", "topk_group", "9", "number of expert groups per token is 9"},
      {"deepseek_v3", "first_k_dense_replace", "62", "62 dense layers"},
      {"deepseek_v3", "kv_lora_rank", "null", "\"kv_lora_rank\" is missing"},
      {"deepseek_v3", "kv_lora_rank", "0", "latent attention lacks the rank"},
      {"deepseek_v3", "kv_lora_rank", "4000000000", "latent rank"},
      {"deepseek_v3", "qk_nope_head_dim", "0", "latent attention rotates 64 of 64"},
      {"deepseek_v3", "qk_rope_head_dim", "3", "rotary dimension 3 is odd"},
      {"deepseek_v3", "routed_scaling_factor", "0", "scale of expert weights is 0"},
      {"deepseek_v2_lite", "topk_method", "\"best\"", "\"best\" is not supported"},
      {"gpt_oss_20b", "layer_types", "[\"full_attention\"]", "1 entries for 2 layers"},
      {"gpt_oss_20b", "layer_types", "[\"full_attention\",\"blind\"]", "\"blind\" is not supported"},
      {"gemma_2_27b", "query_pre_attn_scalar", "-1", "\"query_pre_attn_scalar\" is -1"},
      {"gemma_3_1b", "sliding_window_pattern", "0", "\"sliding_window_pattern\" is 0"},
      {"opt_125m", "word_embed_proj_dim", "512", "projected to"},
      {"falcon_7b", "alibi", "true", "\"alibi\": true is not supported"},
      {"flan_t5_small", "feed_forward_proj", "\"gated-silu\"", "\"gated-silu\" is not supported"},
      {"t5_small", "is_encoder_decoder", "false", "\"is_encoder_decoder\": false is not supported"},
      {"t5_small", "relative_attention_num_buckets", "0", "0 buckets"},
      {"t5_small", "num_decoder_layers", "0", "layer count is 0"},
      {"phi_2", "qk_layernorm", "true", "\"qk_layernorm\": true is not supported"},
  };
  for (const Case& c : cases) {
    Json changed = config(c.model);
    changed[c.key] = parse_json(c.value, "value");
    try {
      architecture_from_hf(changed, "some/config.json");
      ADD_FAILURE() << "accepted: " << c.model << " with " << c.key << " " << c.value;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(c.fault), std::string::npos) << text << " lacks " << c.fault;
      EXPECT_NE(text.find("some/config.json"), std::string::npos) << text;
    }
  }
}

// A checkpoint of gpt-oss put together by hand from a GGUF file's MXFP4 experts: rows of gate and up alternate, and two
// neighbouring weights share a byte.
TEST(Mxfp4Experts, AreReadFromCheckpoints) {
  const test::TempDir folder;
  Architecture a = arch::small_shape(arch::family_named("gpt-oss", "test"));
  a.vocab_size = 600;
  synthesize(a, folder / "a.gguf", {.codec = "MXFP4", .seed = 5});
  const ModelFile model = load_model(folder / "a.gguf");
  const std::uint64_t experts = a.moe.n_experts, ffn = a.moe.ffn_width, width = a.width;
  std::vector<SafetensorsItem> items;
  const auto bytes_item = [&](std::string name, DType dtype, const Shape& shape, std::string bytes) {
    items.push_back({std::move(name), dtype, shape,
                     [bytes = std::move(bytes)](AtomicFile& file) { file.write(std::as_bytes(std::span(bytes))); }});
  };
  const auto floats_of = [](const PackedTensor& tensor) {
    const std::vector<float> values = tensor.to_floats();
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  };
  const auto stack = [&](const std::string& block, const std::string& hf, std::vector<std::string> names,
                         std::uint64_t out, std::uint64_t in) {
    std::string codes, scales, biases;
    for (std::uint64_t e = 0; e < experts; ++e) {
      for (std::uint64_t row = 0; row < out; ++row) {
        for (const std::string& name : names) {
          const std::string matrix = fmt::format("{}{}.{}", block, name, e);
          const std::string_view blocks = model.weights.at(matrix + ".weight").part("blocks").text();
          for (std::uint64_t b = row * in / 32; b < (row + 1) * in / 32; ++b) {
            const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(blocks[b * 17 + i]); };
            scales += static_cast<char>(byte(0));
            const auto code = [&](std::size_t i) { return i < 16 ? byte(1 + i) & 15 : byte(1 + i - 16) >> 4; };
            for (std::size_t i = 0; i < 32; i += 2) codes += static_cast<char>(code(i) | code(i + 1) << 4);
          }
          const std::vector<float> bias = model.weights.at(matrix + ".bias").to_floats();
          biases.append(reinterpret_cast<const char*>(&bias[row]), sizeof(float));
        }
      }
    }
    const std::uint64_t rows = out * names.size();
    bytes_item(hf + "_blocks", DType::kU8, Shape{experts, rows, in / 32, 16}, codes);
    bytes_item(hf + "_scales", DType::kU8, Shape{experts, rows, in / 32}, scales);
    bytes_item(hf + "_bias", DType::kF32, Shape{experts, rows}, biases);
  };
  const arch::Family& family = arch::family_named("gpt-oss", "test");
  for (const auto& [name, tensor] : model.weights.all()) {
    const std::string hf = arch::hf_name(family, name);
    if (!hf.empty()) bytes_item(hf, DType::kF32, tensor.shape, floats_of(tensor));
  }
  for (std::uint32_t layer = 0; layer < a.n_layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer), hf = fmt::format("model.layers.{}.mlp.experts.", layer);
    stack(block, hf + "gate_up_proj", {"ffn_gate", "ffn_up"}, ffn, width);
    stack(block, hf + "down_proj", {"ffn_down"}, width, ffn);
  }
  std::filesystem::create_directories(folder / "hf");
  write_safetensors(folder / "hf/model.safetensors", items, {{"format", "pt"}});
  Json config = architecture_to_hf(a, "float32", "out");
  config["quantization_config"] = {{"quant_method", "mxfp4"}};
  write_file(folder / "hf/config.json", config.dump());
  expect_same(model, load_model(folder / "hf"));
}

// A sink for every head, no more and no fewer.
TEST(BadSinks, AreRefused) {
  const test::TempDir folder;
  synthesize(synth_preset("gpt-oss-tiny"), folder / "a.gguf", {.codec = "F16"});
  ModelFile model = load_model(folder / "a.gguf");
  model.weights.remove("blk.2.attn_sinks.weight");
  model.weights.add(pack("blk.2.attn_sinks.weight", codec_named("F32"), Shape{7}, std::vector<float>(7)));
  save_model(model, folder / "b.gguf");
  try {
    load_model(folder / "b.gguf");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blk.2.attn_sinks.weight"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lathe::formats
