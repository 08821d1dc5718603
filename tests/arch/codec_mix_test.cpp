// Which codec a mix gives each matrix, against lists written by hand from the rules (docs/codecs.md).
#include "arch/codec_mix.h"

#include <gtest/gtest.h>

#include <map>

#include "arch/families.h"
#include "arch/weights.h"
#include "base/error.h"

namespace lathe::arch {
namespace {

using Codecs = std::map<std::string, std::string>;

Architecture small(std::string_view family) { return small_shape(family_named(family, "test")); }

Codecs chosen(std::string_view mix, const Architecture& a) {
  Codecs codecs;
  for (const WeightSpec& spec : weight_schema(a)) {
    if (spec.shape.rank() < 2) continue;
    codecs[spec.name] = codec_in_mix(*find_codec_mix(mix), a, spec.name, spec.shape.cols()).name();
  }
  return codecs;
}

TEST(CodecMix, FourBitsMediumOfFourLayers) {
  Architecture a = small("llama");
  a.n_layers = 4, a.tied_embeddings = false;
  Codecs expected = {{"token_embd.weight", "Q4_K"}, {"output.weight", "Q6_K"}};
  for (int layer = 0; layer < 4; ++layer) {
    for (const char* name : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"}) {
      expected[fmt::format("blk.{}.{}.weight", layer, name)] = "Q4_K";
    }
    for (const char* name : {"attn_v", "ffn_down"}) {
      expected[fmt::format("blk.{}.{}.weight", layer, name)] = layer < 2 ? "Q4_K" : "Q6_K";
    }
  }
  EXPECT_EQ(chosen("Q4_K_M", a), expected);
  a.tied_embeddings = true;
  expected.erase("output.weight");
  expected["token_embd.weight"] = "Q6_K";
  EXPECT_EQ(chosen("Q4_K_M", a), expected);
}

TEST(CodecMix, RowsThatBlocksOf256DoNotDivide) {
  Architecture a = small("llama");
  a.n_layers = 1, a.tied_embeddings = false;
  a.width = 96, a.n_heads = a.n_kv_heads = 3, a.head_dim = a.v_head_dim = a.rotary_dim = 32;
  a.ffn_width = 256;
  EXPECT_EQ(chosen("Q3_K_L", a), (Codecs{{"token_embd.weight", "Q4_0"},
                                         {"blk.0.attn_q.weight", "Q4_0"},
                                         {"blk.0.attn_k.weight", "Q4_0"},
                                         {"blk.0.attn_v.weight", "Q5_1"},
                                         {"blk.0.attn_output.weight", "Q5_1"},
                                         {"blk.0.ffn_gate.weight", "Q4_0"},
                                         {"blk.0.ffn_up.weight", "Q4_0"},
                                         {"blk.0.ffn_down.weight", "Q5_K"},
                                         {"output.weight", "Q8_0"}}));
  const CodecMix& mix = *find_codec_mix("Q4_K_M");
  EXPECT_EQ(codec_in_mix(mix, a, "blk.0.attn_q.weight", 100).name(), "F16");
}

TEST(CodecMix, RoutersPositionsAndSegmentsStayFloats) {
  const Codecs experts = chosen("Q4_K_M", small("qwen2moe"));
  EXPECT_EQ(experts.at("blk.0.ffn_gate_inp.weight"), "F32");
  EXPECT_EQ(experts.at("blk.0.ffn_gate_inp_shexp.weight"), "F32");
  EXPECT_EQ(experts.at("blk.3.ffn_down_shexp.weight"), "Q6_K");
  const Codecs encoder = chosen("Q4_K_M", small("bert"));
  EXPECT_EQ(encoder.at("position_embd.weight"), "F32");
  EXPECT_EQ(encoder.at("token_types.weight"), "F32");
}

TEST(CodecMix, EncoderAndDecoderCountTheirOwnLayers) {
  Architecture a = small("t5");
  a.n_layers = 8, a.encoder.n_layers = 4;
  const Codecs codecs = chosen("Q4_K_M", a);
  for (const char* name : {"attn_v", "ffn_down"}) {
    EXPECT_EQ(codecs.at(fmt::format("enc.blk.1.{}.weight", name)), "Q4_K");
    EXPECT_EQ(codecs.at(fmt::format("enc.blk.2.{}.weight", name)), "Q6_K");
    EXPECT_EQ(codecs.at(fmt::format("dec.blk.0.{}.weight", name)), "Q6_K");
    EXPECT_EQ(codecs.at(fmt::format("dec.blk.1.{}.weight", name)), "Q4_K");
  }
  EXPECT_EQ(codecs.at("dec.blk.7.cross_attn_v.weight"), "Q6_K");
  EXPECT_EQ(codecs.at("dec.blk.7.cross_attn_k.weight"), "Q4_K");
  EXPECT_EQ(codecs.at("enc.blk.0.attn_rel_b.weight"), "F32");
  EXPECT_EQ(chosen("Q2_K_M", a).at("enc.blk.0.attn_output.weight"), "Q2_K");
}

TEST(CodecMix, NamesOfMixesAndCodecsDoNotMeet) {
  for (const CodecMix& mix : codec_mixes()) {
    EXPECT_EQ(find_codec(mix.name), nullptr) << mix.name;
    EXPECT_TRUE(codec_named(mix.body).can_encode()) << mix.name;
  }
  EXPECT_EQ(codec_or_mix_named("q4_k_m"), "Q4_K_M");
  EXPECT_EQ(codec_or_mix_named("q4_k"), "Q4_K");
  EXPECT_EQ(find_codec_mix("Q2_K"), nullptr);
  EXPECT_THROW(codec_or_mix_named("Q4_K_X"), Error);
}

}  // namespace
}  // namespace lathe::arch
