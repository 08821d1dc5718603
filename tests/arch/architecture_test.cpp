// What validate() lets through and what it refuses, naming the file and the fault.
#include "arch/architecture.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/error.h"

namespace lathe::arch {
namespace {

Architecture good() {
  Architecture a;
  a.family = "llama";
  a.n_layers = 2, a.width = 64, a.n_heads = 4, a.n_kv_heads = 2;
  a.head_dim = a.v_head_dim = a.rotary_dim = 16;
  a.ffn_width = 128, a.vocab_size = 96, a.context_length = 256;
  return a;
}

TEST(Validate, AcceptsWhatModelsUse) {
  EXPECT_NO_THROW(validate(good(), "m"));
  Architecture large = good();  // Llama 3.1 405B
  large.n_layers = 126, large.width = 16384, large.n_heads = 128, large.n_kv_heads = 8;
  large.head_dim = large.v_head_dim = large.rotary_dim = 128;
  large.ffn_width = 53248, large.vocab_size = 128256, large.context_length = 131072;
  EXPECT_NO_THROW(validate(large, "m"));
  Architecture unrotated = good();
  unrotated.position = PositionKind::kNone, unrotated.rotary_dim = 0;
  EXPECT_NO_THROW(validate(unrotated, "m"));
}

TEST(Validate, NamesTheFault) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  struct Case {
    std::function<void(Architecture&)> change;
    std::string_view part;
  };
  using Kind = RopeScaling::Kind;
  const auto scaling = [](Kind kind, std::function<void(RopeScaling&)> change) {
    return [kind, change](Architecture& a) {
      a.rope_scaling.kind = kind;
      a.rope_scaling.short_factors = a.rope_scaling.long_factors = std::vector<float>(8, 1.f);
      change(a.rope_scaling);
    };
  };
  const Case cases[] = {
      {[](Architecture& a) { a.n_layers = 0; }, "layer count is 0"},
      {[](Architecture& a) { a.n_layers = kMaxLayers + 1; }, "layer count"},
      {[](Architecture& a) { a.width = 0; }, "model width"},
      {[](Architecture& a) { a.width = UINT32_MAX; }, "model width"},
      {[](Architecture& a) { a.n_heads = 0; }, "head count is 0"},
      {[](Architecture& a) { a.n_kv_heads = 0; }, "KV head count is 0"},
      {[](Architecture& a) { a.n_kv_heads = 8; }, "KV head count is 8"},
      {[](Architecture& a) { a.n_kv_heads = 3; }, "4 heads do not divide into 3 KV heads"},
      {[](Architecture& a) { a.head_dim = 0; }, "head dimension"},
      {[](Architecture& a) { a.head_dim = 1u << 30; }, "head dimension"},
      {[](Architecture& a) { a.v_head_dim = 0; }, "value head dimension"},
      {[](Architecture& a) { a.ffn_width = 0; }, "feed-forward width"},
      {[](Architecture& a) { a.vocab_size = 0; }, "vocabulary size"},
      {[](Architecture& a) { a.vocab_size = UINT32_MAX; }, "vocabulary size"},
      {[](Architecture& a) { a.context_length = 0; }, "context length"},
      {[](Architecture& a) { a.rotary_dim = 0; }, "rotary dimension is 0"},
      {[](Architecture& a) { a.rotary_dim = 5; }, "rotary dimension 5 is odd"},
      {[](Architecture& a) { a.rotary_dim = 18; }, "rotary dimension is 18"},
      {[=](Architecture& a) { a.norm_eps = nan; }, "norm epsilon"},
      {[](Architecture& a) { a.norm_eps = -1; }, "norm epsilon"},
      {[=](Architecture& a) { a.attention_scale = infinity; }, "attention scale"},
      {[](Architecture& a) { a.attention_softcap = -1; }, "attention soft cap"},
      {[=](Architecture& a) { a.logit_softcap = nan; }, "logit soft cap"},
      {[](Architecture& a) { a.embedding_scale = 0; }, "embedding scale"},
      {[=](Architecture& a) { a.residual_scale = infinity; }, "residual scale"},
      {[](Architecture& a) { a.logit_scale = -1; }, "logit scale"},
      {[](Architecture& a) { a.rope_theta = 0; }, "RoPE base"},
      {[](Architecture& a) { a.rope_scaling.factor = 0; }, "RoPE scaling factor"},
      {[=](Architecture& a) { a.rope_scaling.attention_factor = infinity; }, "RoPE attention factor"},
      {[](Architecture& a) {
         a.rope_scaling.short_factors = {1, 2};
       },
       "2 RoPE factors for 8 frequencies"},
      {scaling(Kind::kLongRope, [](RopeScaling& s) { s.short_factors[3] = 0; }), "a RoPE factor is 0"},
      {scaling(Kind::kLongRope, [=](RopeScaling& s) { s.long_factors[3] = nan; }), "a RoPE factor is nan"},
      {scaling(Kind::kLongRope, [](RopeScaling& s) { s.long_factors.clear(); }), "short and long factors"},
      {scaling(Kind::kLongRope, [](RopeScaling& s) { s.original_context = 1; }), "original context is 1"},
      {scaling(Kind::kFactors, [](RopeScaling& s) { s.short_factors.clear(); }), "factors are missing"},
      {scaling(Kind::kYarn, [](RopeScaling& s) { s.beta_slow = 0; }), "beta_slow"},
      {scaling(Kind::kYarn, [=](RopeScaling& s) { s.beta_fast = nan; }), "beta_fast"},
      {scaling(Kind::kLlama3, [](RopeScaling& s) { s.low_freq_factor = 0; }), "low_freq_factor"},
      {scaling(Kind::kLlama3, [](RopeScaling& s) { s.high_freq_factor = 1; }), "not above low_freq_factor 1"},
      {[](Architecture& a) { a.rotary_dim = 2, a.rope_scaling.kind = Kind::kDynamicNtk; }, "more than 2 rotary"},
      {[](Architecture& a) { a.full_layers = {true}; }, "1 layers are said to have a window or none, of 2"},
      {[](Architecture& a) { a.ffn_norm = false; }, "feed-forward layers have no norm"},
      {[](Architecture& a) { a.parallel_block = a.post_norms = true; }, "norms after parallel branches"},
      {[](Architecture& a) { a.head_bias = a.tied_embeddings = true; }, "has no bias"},
      {[](Architecture& a) { a.gated_ffn = false, a.fused_gate_up = true; }, "none to fuse"},
      {[=](Architecture& a) { a.window_rope_theta = nan; }, "RoPE base of layers with a window"},
      {[](Architecture& a) { a.moe.n_experts = 4; }, "number of experts per token is 0"},
      {[](Architecture& a) { a.moe.n_experts = 4, a.moe.top_k = 2; }, "feed-forward width of experts is 0"},
      {[](Architecture& a) { a.moe = {.n_experts = 4, .top_k = 3, .ffn_width = 8, .n_groups = 2}; },
       "3 experts per token, but 1 groups of 2 hold 2"},
      {[](Architecture& a) {
         a.n_layers = 100;
         a.moe = {.n_experts = 4096, .top_k = 3, .ffn_width = 8};
       },
       "4096 experts in each of 100 layers"},
      {[](Architecture& a) { a.mla.q_rank = 8; }, "lacks the rank of keys and values"},
      {[](Architecture& a) { a.mla.kv_rank = 8; }, "latent attention rotates 16 of 16"},
  };
  for (const Case& c : cases) {
    Architecture a = good();
    c.change(a);
    try {
      validate(a, "some/file.gguf");
      ADD_FAILURE() << "accepted: " << c.part;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(c.part), std::string::npos) << text << " lacks " << c.part;
      EXPECT_NE(text.find("some/file.gguf"), std::string::npos) << text;
    }
  }
}

TEST(Architecture, WidthsFollowFromHeads) {
  Architecture a = good();
  a.v_head_dim = 10;
  EXPECT_EQ(a.q_width(), 64u);
  EXPECT_EQ(a.k_width(), 32u);
  EXPECT_EQ(a.v_width(), 20u);
}

}  // namespace
}  // namespace lathe::arch
