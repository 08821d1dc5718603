// config.json in the spellings that published models use.
#include "formats/hf_config.h"
#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/families.h"
#include "arch/rope.h"
#include "base/file.h"
#include "formats/architecture_json.h"
#include "formats/model_file.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using Kind = arch::RopeScaling::Kind;

Json llama_config() {
  return parse_json(R"({"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
    "num_attention_heads":4,"vocab_size":100,"max_position_embeddings":4096})",
                    "config");
}

struct RopeCase {
  const char* name;
  const char* json;  // merged into the config
  Kind kind;
  float theta, factor, attention_factor;
  std::uint32_t original;
};

const RopeCase kRopeCases[] = {
    {"absent", R"({})", Kind::kNone, 10000, 1, 0, 0},
    {"null", R"({"rope_scaling":null,"rope_theta":500000.0})", Kind::kNone, 500000, 1, 0, 0},
    {"linear_old", R"({"rope_scaling":{"type":"linear","factor":2.0}})", Kind::kLinear, 10000, 2, 0, 0},
    {"linear_new", R"({"rope_scaling":{"rope_type":"linear","factor":4}})", Kind::kLinear, 10000, 4, 0, 0},
    {"dynamic", R"({"rope_scaling":{"type":"dynamic","factor":2.0}})", Kind::kDynamicNtk, 10000, 2, 0, 0},
    {"yarn", R"({"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":1024}})",
     Kind::kYarn, 10000, 4, 0, 1024},
    {"yarn_attention",
     R"({"rope_scaling":{"type":"yarn","factor":4.0,"attention_factor":1.5,"beta_fast":16,"beta_slow":2}})",
     Kind::kYarn, 10000, 4, 1.5, 0},
    {"yarn_mscale", R"({"rope_scaling":{"type":"yarn","factor":40,"mscale":1.0,"mscale_all_dim":1.0}})", Kind::kYarn,
     10000, 40, 1, 0},
    {"llama3",
     R"({"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}})",
     Kind::kLlama3, 500000, 8, 0, 8192},
    {"parameters",
     R"({"rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}})",
     Kind::kLlama3, 500000, 8, 0, 8192},
    {"parameters_default", R"({"rope_parameters":{"rope_type":"default","rope_theta":20000.0}})", Kind::kNone, 20000, 1,
     0, 0},
    {"longrope",
     R"({"original_max_position_embeddings":1024,"rope_scaling":{"type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,2,3,4,5,6,7,8]}})",
     Kind::kLongRope, 10000, 1, 0, 1024},
    {"su",
     R"({"original_max_position_embeddings":1024,"rope_scaling":{"type":"su","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,2,3,4,5,6,7,8]}})",
     Kind::kLongRope, 10000, 1, 0, 1024},
};

class HfRope : public testing::TestWithParam<RopeCase> {};

TEST_P(HfRope, ReadsAndWrites) {
  const RopeCase& expected = GetParam();
  Json config = llama_config();
  config.update(parse_json(expected.json, "case"));
  const arch::Architecture a = architecture_from_hf(config, "config.json");
  EXPECT_EQ(a.rope_scaling.kind, expected.kind);
  EXPECT_FLOAT_EQ(a.rope_theta, expected.theta);
  EXPECT_FLOAT_EQ(a.rope_scaling.factor, expected.factor);
  EXPECT_FLOAT_EQ(a.rope_scaling.attention_factor, expected.attention_factor);
  EXPECT_EQ(a.rope_scaling.original_context, expected.original);
  EXPECT_EQ(a.rotary_dim, 16u);
  const Json written = architecture_to_hf(a, "float32", "out");
  EXPECT_EQ(architecture_from_hf(parse_json(written.dump(), "out"), "out"), a) << written.dump();
  EXPECT_EQ(architecture_from_json(parse_json(architecture_to_json(a).dump(), "json"), "json"), a);
}

INSTANTIATE_TEST_SUITE_P(Spellings, HfRope, testing::ValuesIn(kRopeCases),
                         [](const auto& info) { return std::string(info.param.name); });

class RopeThroughGguf : public testing::TestWithParam<RopeCase> {};

TEST_P(RopeThroughGguf, KeepsTheFrequencies) {
  Json config = llama_config();
  config.update(parse_json(GetParam().json, "case"));
  arch::Architecture a = architecture_from_hf(config, "config.json");
  a.rope_layout = RopeLayout::kInterleaved;
  const test::TempDir folder;
  if (a.rope_scaling.kind == Kind::kDynamicNtk) {
    EXPECT_THROW(synthesize(a, folder / "m.gguf", {.codec = "F32"}), Error);
    return;
  }
  synthesize(a, folder / "m.gguf", {.codec = "F32"});
  const arch::Architecture b = load_model(folder / "m.gguf").architecture;
  for (const std::uint32_t context : {512u, 4096u}) {
    const auto before = arch::rope_frequencies(a, context), after = arch::rope_frequencies(b, context);
    EXPECT_FLOAT_EQ(before.mscale, after.mscale);
    ASSERT_EQ(before.inv_freq.size(), after.inv_freq.size());
    for (std::size_t i = 0; i < before.inv_freq.size(); ++i)
      EXPECT_NEAR(before.inv_freq[i] / after.inv_freq[i], 1, 1e-6) << i;
  }
  if (a.rope_scaling.kind != Kind::kLlama3 && a.rope_scaling.kind != Kind::kLongRope &&
      a.rope_scaling.attention_factor == 0) {
    EXPECT_EQ(a, b);
  }
}

INSTANTIATE_TEST_SUITE_P(Spellings, RopeThroughGguf, testing::ValuesIn(kRopeCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(HfConfig, PlainFactorsSurvive) {
  Json config = llama_config();
  arch::Architecture a = architecture_from_hf(config, "config.json");
  a.rope_scaling.kind = Kind::kFactors;
  a.rope_scaling.short_factors = {1, 1, 1.5f, 2, 3, 4, 6, 8};
  EXPECT_EQ(architecture_from_hf(architecture_to_hf(a, "float32", "out"), "out"), a);
}

TEST(HfConfig, Gpt2) {
  const arch::Architecture a =
      architecture_from_hf(parse_json(R"({"model_type":"gpt2","n_embd":96,"n_layer":4,"n_head":2,
    "n_positions":74,"vocab_size":66,"n_inner":null,"activation_function":"gelu_new","scale_attn_weights":false})",
                                      "c"),
                           "c");
  EXPECT_EQ(a.ffn_width, 384u);
  EXPECT_EQ(a.context_length, 74u);
  EXPECT_TRUE(a.tied_embeddings);
  EXPECT_EQ(a.attention_scale, 1.0f);
  EXPECT_EQ(a.activation, ActivationKind::kGeluTanh);
  EXPECT_EQ(architecture_from_hf(architecture_to_hf(a, "float16", "out"), "out"), a);
}

TEST(HfConfig, BiasesAndHeadDim) {
  Json config = llama_config();
  config.update(parse_json(
      R"({"head_dim":32,"attention_bias":true,"mlp_bias":true,"num_key_value_heads":2,"tie_word_embeddings":true,"rms_norm_eps":1e-05})",
      "c"));
  const arch::Architecture a = architecture_from_hf(config, "c");
  EXPECT_EQ(a.head_dim, 32u);
  EXPECT_TRUE(a.attention_bias && a.output_bias && a.ffn_bias && a.tied_embeddings);
  const Json written = architecture_to_hf(a, "float32", "out");
  EXPECT_EQ(written.at("rms_norm_eps").dump(), "1e-05");
  EXPECT_EQ(architecture_from_hf(written, "out"), a);
}

// Reading, writing and reading again gives the same model.
arch::Architecture through_hf(const Json& config) {
  const arch::Architecture a = architecture_from_hf(config, "config");
  EXPECT_EQ(architecture_from_hf(architecture_to_hf(a, "float32", "out"), "again"), a);
  return a;
}

TEST(HfConfig, Mistral) {
  Json config = llama_config();
  config["model_type"] = "mistral";
  config["sliding_window"] = 512u;
  const arch::Architecture windowed = through_hf(config);
  EXPECT_EQ(windowed.family, "mistral");
  EXPECT_EQ(windowed.window, 512u);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(through_hf(config).window, 0u);
}

// transformers takes these at their word: a window of 0 shows nothing, a cap of 0 makes every logit 0, part of a head
// that is counted apart is made smaller still, and Phi-3's LongRope must have three keys.
TEST(HfConfig, WritesWhatOtherProgramsTakeRight) {
  const auto written = [](const char* preset, const auto& change) {
    arch::Architecture a = synth_preset(preset);
    a.rope_layout = arch::family_named(a.family, "test").hf_rope_layout;
    change(a);
    const Json config = architecture_to_hf(a, "float32", "out");
    EXPECT_EQ(architecture_from_hf(config, "out"), a) << config.dump();
    return config;
  };
  const auto as_is = [](arch::Architecture&) {};
  for (const char* preset : {"phi3-tiny", "mixtral-tiny"}) {
    EXPECT_TRUE(written(preset, as_is).at("sliding_window").is_null()) << preset;
    EXPECT_EQ(written(preset, [](auto& a) { a.window = 16; }).at("sliding_window"), 16) << preset;
  }
  EXPECT_TRUE(written("gemma3-tiny", as_is).at("final_logit_softcapping").is_null());
  EXPECT_EQ(written("gemma2-tiny", as_is).at("final_logit_softcapping"), 30);
  EXPECT_EQ(written("gemma2-tiny", as_is).at("attn_logit_softcapping"), 50);
  const auto no_caps = [](auto& a) { a.attention_softcap = a.logit_softcap = 0; };
  EXPECT_TRUE(written("gemma2-tiny", no_caps).at("attn_logit_softcapping").is_null());
  for (const char* preset : {"deepseek2-tiny", "deepseek3-tiny", "gptj-tiny"})
    EXPECT_FALSE(written(preset, as_is).contains("partial_rotary_factor")) << preset;
  const Json longrope = written("phi3-tiny", [](auto& a) {
    a.rope_scaling.kind = Kind::kLongRope;
    a.rope_scaling.original_context = 128;
    a.rope_scaling.short_factors.assign(16, 1), a.rope_scaling.long_factors.assign(16, 2);
  });
  EXPECT_EQ(longrope.at("original_max_position_embeddings"), 128);
  EXPECT_EQ(longrope.at("rope_scaling").size(), 3u) << longrope.dump();
  EXPECT_EQ(longrope.at("rope_scaling").at("type"), "longrope");
}

TEST(HfConfig, Qwen) {
  Json config = llama_config();
  config["model_type"] = "qwen2";
  config["sliding_window"] = 512u;
  config["use_sliding_window"] = false;
  config["max_window_layers"] = 1;
  const arch::Architecture qwen2 = through_hf(config);
  EXPECT_TRUE(qwen2.attention_bias);
  EXPECT_FALSE(qwen2.output_bias);
  EXPECT_EQ(qwen2.window, 0u);
  config["use_sliding_window"] = true;
  const arch::Architecture half = through_hf(config);
  EXPECT_EQ(half.layer_window(0), 0u);
  EXPECT_EQ(half.layer_window(1), 512u);
  config["max_window_layers"] = 0;
  EXPECT_EQ(through_hf(config).window, 512u);
  config["max_window_layers"] = 2;
  EXPECT_EQ(through_hf(config).window, 0u);

  config["model_type"] = "qwen3";
  config["head_dim"] = 32u;
  const arch::Architecture qwen3 = through_hf(config);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.attention_bias);
  EXPECT_EQ(qwen3.head_dim, 32u);
}

TEST(HfConfig, RefusesWhatItCannotSay) {
  arch::Architecture a = architecture_from_hf(llama_config(), "c");
  a.logit_softcap = 30;
  EXPECT_THROW(architecture_to_hf(a, "float32", "out"), Error);
  EXPECT_EQ(architecture_from_json(architecture_to_json(a), "json"), a);
}

TEST(ArchitectureJson, RefusesUnknownFields) {
  Json json = architecture_to_json(architecture_from_hf(llama_config(), "c"));
  json["n_tentacles"] = 8;
  EXPECT_THROW(architecture_from_json(json, "json"), Error);
}

TEST(HfFolder, ChatTemplateForms) {
  const test::TempDir folder;
  synthesize(synth_preset("gpt2-tiny"), folder / "hf", {.codec = "F16"});
  const auto model = folder.path() / "hf";
  EXPECT_EQ(load_model(model).chat_template, "");
  Json config = parse_json(read_file(model / "tokenizer_config.json"), "c");
  config["chat_template"] = "plain";
  write_file(model / "tokenizer_config.json", config.dump());
  EXPECT_EQ(load_model(model).chat_template, "plain");
  config["chat_template"] =
      parse_json(R"([{"name":"tool_use","template":"tools"},{"name":"default","template":"usual"}])", "c");
  write_file(model / "tokenizer_config.json", config.dump());
  EXPECT_EQ(load_model(model).chat_template, "usual");
  write_file(model / "chat_template.jinja", "file");
  EXPECT_EQ(load_model(model).chat_template, "file");
  write_file(model / "generation_config.json",
             R"({"do_sample":true,"temperature":0.6,"top_p":0.9,"top_k":20,"eos_token_id":[5,7]})");
  const ModelFile loaded = load_model(model);
  EXPECT_FLOAT_EQ(loaded.generation.temperature, 0.6f);
  EXPECT_EQ(loaded.generation.top_k, 20);
  EXPECT_EQ(std::count(loaded.tokenizer->special().end_of_generation.begin(),
                       loaded.tokenizer->special().end_of_generation.end(), 7),
            1);
  save_model(loaded, folder / "m.lathe");
  const ModelFile again = load_model(folder / "m.lathe");
  EXPECT_EQ(again.chat_template, "file");
  EXPECT_FLOAT_EQ(again.generation.top_p, 0.9f);
}

}  // namespace
}  // namespace lathe::formats
