// LoRA files applied at run time: PEFT folders and GGUF adapters, against the same model with the update folded into
// its weights by the test itself.
#include <gtest/gtest.h>

#include "base/file.h"
#include "engine/session.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

constexpr std::uint64_t kRank = 4;

// Small, and different for every tensor.
std::vector<float> values(std::uint64_t count, std::uint64_t seed) {
  std::vector<float> result(count);
  std::uint64_t state = seed * 2654435761u + 1;
  for (float& value : result) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = (static_cast<float>(state >> 40) / (1 << 24) - 0.5f) * 0.4f;
  }
  return result;
}

struct Target {
  std::string weight, module;  // "blk.0.attn_q", "model.layers.0.self_attn.q_proj"
};

class AdapterTest : public ::testing::Test {
 protected:
  AdapterTest() : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")) {}

  const std::vector<Target> targets_ = {{"blk.0.attn_q", "model.layers.0.self_attn.q_proj"},
                                        {"blk.1.attn_k", "model.layers.1.self_attn.k_proj"},
                                        {"blk.2.attn_output", "model.layers.2.self_attn.o_proj"},
                                        {"blk.3.ffn_gate", "model.layers.3.mlp.gate_proj"},
                                        {"blk.4.ffn_down", "model.layers.4.mlp.down_proj"}};

  std::uint64_t out(const std::string& weight) const { return file_.weights.at(weight + ".weight").shape[0]; }
  std::uint64_t in(const std::string& weight) const { return file_.weights.at(weight + ".weight").shape[1]; }

  // The row of a Hugging Face q or k matrix that row `row` of the GGUF one is: within a head, element 2i comes from i
  // and 2i + 1 from i + half.
  std::uint64_t hf_row(const std::string& weight, std::uint64_t row) const {
    if (!weight.ends_with("attn_q") && !weight.ends_with("attn_k")) return row;
    const std::uint64_t dim = file_.architecture.head_dim, head = row / dim, i = row % dim;
    return head * dim + i / 2 + i % 2 * (dim / 2);
  }

  // W += scale * B A, with B in Hugging Face row order.
  formats::ModelFile merged(float scale) const {
    formats::ModelFile result = file_;
    result.weights = {};
    for (const auto& [name, tensor] : file_.weights.all()) {
      std::vector<float> w = tensor.to_floats();
      for (std::size_t t = 0; t < targets_.size(); ++t) {
        const std::string& weight = targets_[t].weight;
        if (name != weight + ".weight") continue;
        const auto a = values(kRank * in(weight), 2 * t), b = values(out(weight) * kRank, 2 * t + 1);
        for (std::uint64_t row = 0; row < out(weight); ++row) {
          for (std::uint64_t column = 0; column < in(weight); ++column) {
            double sum = 0;
            for (std::uint64_t r = 0; r < kRank; ++r)
              sum += double{b[hf_row(weight, row) * kRank + r]} * a[r * in(weight) + column];
            w[row * in(weight) + column] += static_cast<float>(scale * sum);
          }
        }
      }
      result.weights.add(pack(name, codec_named("F32"), tensor.shape, w));
    }
    return result;
  }

  // A PEFT folder written by hand: the header is JSON, the data follows in order.
  void write_peft(const std::filesystem::path& folder, const std::string& config,
                  const std::string& prefix = "base_model.model.") const {
    std::filesystem::create_directories(folder);
    write_file(folder / "adapter_config.json", config);
    std::string header = "{", data;
    for (std::size_t t = 0; t < targets_.size(); ++t) {
      const std::string& weight = targets_[t].weight;
      for (const bool is_a : {true, false}) {
        const auto v = is_a ? values(kRank * in(weight), 2 * t) : values(out(weight) * kRank, 2 * t + 1);
        const std::size_t begin = data.size();
        data.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(float));
        header +=
            fmt::format("{}\"{}{}.lora_{}.weight\":{{\"dtype\":\"F32\",\"shape\":[{},{}],\"data_offsets\":[{},{}]}}",
                        header.size() > 1 ? "," : "", prefix, targets_[t].module, is_a ? "A" : "B",
                        is_a ? kRank : out(weight), is_a ? in(weight) : kRank, begin, data.size());
      }
    }
    header += "}";
    while (header.size() % 8 != 0) header += ' ';
    const std::uint64_t size = header.size();
    write_file(folder / "adapter_model.safetensors",
               std::string(reinterpret_cast<const char*>(&size), 8) + header + data);
  }

  std::vector<float> last_logits(Session& session, const std::vector<text::TokenId>& ids) {
    std::vector<float> last;
    session.logits(ids, ids.size() - 1,
                   [&](std::size_t, std::span<const float> row) { last.assign(row.begin(), row.end()); });
    return last;
  }

  static api::GenerateRequest greedy(std::vector<std::string> adapters) {
    api::GenerateRequest request;
    request.prompt = "Once upon a time";
    request.max_tokens = 40;
    request.logprobs = 1;
    request.sampling.temperature = 0;
    request.adapters = std::move(adapters);
    return request;
  }

  static void expect_same(const api::GenerateResult& a, const api::GenerateResult& b) {
    ASSERT_EQ(a.tokens.size(), b.tokens.size());
    for (std::size_t i = 0; i < a.tokens.size(); ++i) {
      EXPECT_EQ(a.tokens[i].id, b.tokens[i].id) << i;
      EXPECT_NEAR(a.tokens[i].logprob, b.tokens[i].logprob, 2e-4) << i;
    }
  }

  formats::ModelFile file_;
  Runtime runtime_{{.cpu = {.threads = 1}}};
  test::TempDir folder_;
};

TEST_F(AdapterTest, APeftFolderEqualsMergedWeights) {
  write_peft(folder_ / "lora", R"({"peft_type":"LORA","r":4,"lora_alpha":6})");
  const auto session = runtime_.open(runtime_.load(file_), file_.tokenizer);
  session->add_adapter("lora", formats::load_adapter(folder_ / "lora", file_.architecture));
  const auto merged_session = runtime_.open(runtime_.load(merged(6.0f / 4)), file_.tokenizer);
  const auto plain = session->generate(greedy({}));
  const auto adapted = session->generate(greedy({"lora"}));
  expect_same(adapted, merged_session->generate(greedy({})));
  // The update is large enough to matter, and requests without it do not see it, nor its cached prefix.
  EXPECT_NE(plain.text, adapted.text);
  EXPECT_EQ(session->generate(greedy({})).text, plain.text);
}

TEST_F(AdapterTest, RequestsWithAndWithoutItShareABatch) {
  write_peft(folder_ / "lora", R"({"lora_alpha":6})");
  const auto session = runtime_.open(runtime_.load(file_), file_.tokenizer);
  const auto file = formats::load_adapter(folder_ / "lora", file_.architecture);
  session->add_adapter("full", file);
  session->add_adapter("half", file, 0.5f);
  const std::vector<api::GenerateRequest> requests = {greedy({"full"}), greedy({}), greedy({"half"}),
                                                      greedy({"half", "half"})};
  const auto together = session->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(together[i].text, session->generate(requests[i]).text) << i;
  expect_same(together[3], together[0]);  // twice a half is the whole
}

TEST_F(AdapterTest, RankStabilisedScaleAndAlphaPatternsAreHonoured) {
  write_peft(folder_ / "rs", R"({"lora_alpha":3,"use_rslora":true})");
  EXPECT_FLOAT_EQ(formats::load_adapter(folder_ / "rs", file_.architecture).low_rank.at("blk.0.attn_q").scale, 1.5f);
  write_peft(folder_ / "pattern", R"({"lora_alpha":4,"alpha_pattern":{"o_proj":8}})");
  const auto pattern = formats::load_adapter(folder_ / "pattern", file_.architecture);
  EXPECT_FLOAT_EQ(pattern.low_rank.at("blk.2.attn_output").scale, 2);
  EXPECT_FLOAT_EQ(pattern.low_rank.at("blk.0.attn_q").scale, 1);
}

TEST_F(AdapterTest, WhatLowRankCannotExpressIsRefused) {
  const auto refused = [&](const std::string& config, const std::string& reason) {
    write_peft(folder_ / "bad", config);
    try {
      formats::load_adapter(folder_ / "bad", file_.architecture);
      ADD_FAILURE() << config;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  refused(R"({"peft_type":"IA3"})", "IA3");
  refused(R"({"use_dora":true})", "DoRA");
  refused(R"({"bias":"all"})", "biases");
  refused(R"({"modules_to_save":["lm_head"]})", "modules_to_save");
  refused("[]", "JSON object");
  refused("{", "adapter_config.json");
}

TEST_F(AdapterTest, AnAdapterOfAnotherModelIsRefused) {
  write_peft(folder_ / "lora", "{}");
  arch::Architecture other = file_.architecture;
  other.width *= 2;
  EXPECT_THROW(formats::load_adapter(folder_ / "lora", other), Error);
  other = file_.architecture;
  other.n_layers = 3;
  EXPECT_THROW(formats::load_adapter(folder_ / "lora", other), Error);
  write_peft(folder_ / "names", "{}", "encoder.");
  EXPECT_THROW(formats::load_adapter(folder_ / "names", file_.architecture), Error);
  EXPECT_THROW(formats::load_adapter(test::source_dir() / "models/tiny/stories260K.gguf", file_.architecture), Error);
  EXPECT_THROW(formats::load_adapter(folder_ / "nothing", file_.architecture), Error);
}

TEST_F(AdapterTest, UnknownNamesAndTakenNamesAreErrors) {
  write_peft(folder_ / "lora", "{}");
  const auto session = runtime_.open(runtime_.load(file_), file_.tokenizer);
  const auto file = formats::load_adapter(folder_ / "lora", file_.architecture);
  session->add_adapter("lora", file);
  EXPECT_THROW(session->add_adapter("lora", file), Error);
  EXPECT_THROW(session->generate(greedy({"other"})), Error);
}

}  // namespace
}  // namespace lathe::engine
