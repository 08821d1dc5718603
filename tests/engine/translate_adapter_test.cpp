// LoRA on encoder-decoder models: adapters in PEFT's names applied at run time, in encoder, decoder and cross
// attention, against models whose weights the test itself merged.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "arch/families.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/session.h"
#include "fuzz/raw_files.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

using Ids = std::vector<text::TokenId>;

constexpr std::uint64_t kRank = 3;
constexpr float kAlpha = 6;

// A weight, and the module that PEFT calls it after.
struct Adapted {
  std::string weight, module;
};

std::vector<Adapted> t5_targets(bool gated) {
  const auto layer = [](const char* side, int block, int part, const char* module) {
    return fmt::format("{}.block.{}.layer.{}.{}", side, block, part, module);
  };
  std::vector<Adapted> targets = {
      {"enc.blk.0.attn_q", layer("encoder", 0, 0, "SelfAttention.q")},
      {"enc.blk.1.attn_k", layer("encoder", 1, 0, "SelfAttention.k")},
      {"enc.blk.2.attn_v", layer("encoder", 2, 0, "SelfAttention.v")},
      {"enc.blk.3.attn_output", layer("encoder", 3, 0, "SelfAttention.o")},
      {"enc.blk.0.ffn_up", layer("encoder", 0, 1, gated ? "DenseReluDense.wi_1" : "DenseReluDense.wi")},
      {"enc.blk.3.ffn_down", layer("encoder", 3, 1, "DenseReluDense.wo")},
      {"dec.blk.0.attn_q", layer("decoder", 0, 0, "SelfAttention.q")},
      {"dec.blk.3.attn_output", layer("decoder", 3, 0, "SelfAttention.o")},
      {"dec.blk.1.cross_attn_q", layer("decoder", 1, 1, "EncDecAttention.q")},
      {"dec.blk.0.cross_attn_k", layer("decoder", 0, 1, "EncDecAttention.k")},
      {"dec.blk.3.cross_attn_v", layer("decoder", 3, 1, "EncDecAttention.v")},
      {"dec.blk.2.cross_attn_output", layer("decoder", 2, 1, "EncDecAttention.o")},
      {"dec.blk.2.ffn_up", layer("decoder", 2, 2, gated ? "DenseReluDense.wi_1" : "DenseReluDense.wi")},
      {"dec.blk.3.ffn_down", layer("decoder", 3, 2, "DenseReluDense.wo")},
  };
  if (gated) {
    targets.push_back({"enc.blk.1.ffn_gate", layer("encoder", 1, 1, "DenseReluDense.wi_0")});
    targets.push_back({"dec.blk.3.ffn_gate", layer("decoder", 3, 2, "DenseReluDense.wi_0")});
  }
  return targets;
}

std::vector<Adapted> transformer_targets() {
  return {{"enc.blk.0.attn_q", "encoder.layers.0.self_attn.q_proj"},
          {"enc.blk.0.ffn_down", "encoder.layers.0.fc2"},
          {"dec.blk.1.attn_v", "decoder.layers.1.self_attn.v_proj"},
          {"dec.blk.0.cross_attn_k", "decoder.layers.0.encoder_attn.k_proj"},
          {"dec.blk.3.cross_attn_output", "decoder.layers.3.encoder_attn.out_proj"},
          {"dec.blk.2.ffn_up", "decoder.layers.2.fc1"}};
}

std::vector<Adapted> targets_of(const std::string& family) {
  return family == "transformer" ? transformer_targets() : t5_targets(family == "flan-t5");
}

class TranslatorAdapters : public testing::TestWithParam<const char*> {
 protected:
  TranslatorAdapters() {
    arch::Architecture a = arch::small_shape(arch::family_named(GetParam(), "test"));
    a.vocab_size = 300;
    if (a.encoder.vocab_size > 0) a.encoder.vocab_size = 300;
    a.context_length = 128;
    const test::TinyModel model = test::make_tiny_model(a, "F32", 5);
    file_.architecture = model.architecture;
    file_.weights = model.weights;
  }

  // The low-rank matrices of a target: A [rank, in], B [out, rank].
  struct Matrices {
    std::vector<float> a, b;
    std::uint64_t in, out;
  };
  Matrices matrices(const Adapted& target) const {
    const Shape& shape = file_.weights.at(target.weight + ".weight").shape;
    Matrices m{{}, {}, shape[1], shape[0]};
    std::mt19937 random(std::hash<std::string>()(target.weight) & 0xffff);
    std::uniform_real_distribution<float> uniform(-0.15f, 0.15f);
    m.a.resize(kRank * m.in), m.b.resize(m.out * kRank);
    for (float& value : m.a) value = uniform(random);
    for (float& value : m.b) value = uniform(random);
    return m;
  }

  void write_peft(const std::filesystem::path& folder, const std::vector<Adapted>& targets) const {
    std::filesystem::create_directories(folder);
    write_file(
        folder / "adapter_config.json",
        fmt::format(R"({{"peft_type":"LORA","task_type":"SEQ_2_SEQ_LM","r":{},"lora_alpha":{}}})", kRank, kAlpha));
    std::string header, data;
    for (const Adapted& target : targets) {
      const Matrices m = matrices(target);
      const auto add = [&](const char* which, const std::vector<float>& values, std::uint64_t rows) {
        const std::size_t begin = data.size();
        data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
        header += fmt::format(
            R"({}"base_model.model.{}.lora_{}.weight":{{"dtype":"F32","shape":[{},{}],"data_offsets":[{},{}]}})",
            header.empty() ? "" : ",", target.module, which, rows, values.size() / rows, begin, data.size());
      };
      add("A", m.a, kRank);
      add("B", m.b, m.out);
    }
    write_file(folder / "adapter_model.safetensors", fuzz::raw_safetensors("{" + header + "}", data));
  }

  // W + alpha / rank * B A, in double.
  formats::ModelFile merged(const std::vector<Adapted>& targets) const {
    formats::ModelFile result = file_;
    result.weights = {};
    for (const auto& entry : file_.weights.all()) {
      const PackedTensor& tensor = entry.second;
      const auto target = std::find_if(targets.begin(), targets.end(),
                                       [&](const Adapted& one) { return one.weight + ".weight" == tensor.name; });
      if (target == targets.end()) {
        result.weights.add(tensor);
        continue;
      }
      std::vector<float> w = tensor.to_floats();
      const Matrices m = matrices(*target);
      for (std::uint64_t row = 0; row < m.out; ++row) {
        for (std::uint64_t column = 0; column < m.in; ++column) {
          double sum = 0;
          for (std::uint64_t r = 0; r < kRank; ++r) sum += double{m.b[row * kRank + r]} * m.a[r * m.in + column];
          w[row * m.in + column] += static_cast<float>(kAlpha / double{kRank} * sum);
        }
      }
      result.weights.add(pack(tensor.name, codec_named("F32"), tensor.shape, w));
    }
    return result;
  }

  static api::GenerateRequest request_for(Ids source, std::vector<api::AdapterUse> adapters = {}) {
    api::GenerateRequest request;
    request.prompt_ids = std::move(source);
    request.max_tokens = 8;
    request.logprobs = 3;
    request.sampling.seed = 7;  // likeliest tokens may repeat one, and queries do not matter among equal keys
    request.adapters = std::move(adapters);
    return request;
  }

  static void expect_same(const api::GenerateResult& a, const api::GenerateResult& b, const std::string& what) {
    ASSERT_EQ(a.tokens.size(), b.tokens.size()) << what;
    for (std::size_t i = 0; i < a.tokens.size(); ++i) {
      EXPECT_EQ(a.tokens[i].id, b.tokens[i].id) << what << " " << i;
      EXPECT_NEAR(a.tokens[i].logprob, b.tokens[i].logprob, 1e-4) << what << " " << i;
    }
  }

  // The largest difference in the tokens' log-probabilities; infinite where the tokens differ.
  static double difference(const api::GenerateResult& a, const api::GenerateResult& b) {
    double largest = 0;
    for (std::size_t i = 0; i < std::min(a.tokens.size(), b.tokens.size()); ++i) {
      if (a.tokens[i].id != b.tokens[i].id) return INFINITY;
      largest = std::max(largest, std::abs(double{a.tokens[i].logprob} - b.tokens[i].logprob));
    }
    return largest;
  }

  // Keys and values as floats: merged weights and updates beside them round differently.
  std::unique_ptr<Session> open(const formats::ModelFile& file) {
    return runtime_.open(runtime_.load(file), nullptr, {.kv_codec = kernels::KvCodec::kF32, .max_batch = 4});
  }

  formats::AdapterFile adapter(const std::string& name, const std::vector<Adapted>& targets) const {
    write_peft(folder_ / name, targets);
    return formats::load_adapter(folder_ / name, file_.architecture);
  }

  formats::ModelFile file_;
  Runtime runtime_{{.cpu = {.threads = 2}}};
  test::TempDir folder_;
  const Ids source_ = test::random_ids(23, 300, 3);
};

TEST_P(TranslatorAdapters, EveryTargetAloneEqualsMergedWeights) {
  const auto session = open(file_);
  const auto plain = session->generate(request_for(source_));
  for (const Adapted& target : targets_of(GetParam())) {
    session->add_adapter(target.weight, adapter("one", {target}));
    const auto adapted = session->generate(request_for(source_, {target.weight}));
    expect_same(adapted, open(merged({target}))->generate(request_for(source_)), target.weight);
    EXPECT_GT(difference(plain, adapted), 5e-4) << target.weight;
  }
}

TEST_P(TranslatorAdapters, AllTargetsTogetherAndBesideRequestsWithout) {
  const std::vector<Adapted> targets = targets_of(GetParam());
  const auto session = open(file_);
  const auto merged_session = open(merged(targets));
  session->add_adapter("all", adapter("all", targets));
  const auto plain = session->generate(request_for(source_));
  const auto expected = merged_session->generate(request_for(source_));
  EXPECT_GT(difference(plain, expected), 1e-2);
  // The same source, read with and without: neither may see the other's.
  const auto results = session->generate_all(std::vector{request_for(source_, {"all"}), request_for(source_),
                                                         request_for(source_, {"all"}), request_for({1, 2, 3})});
  expect_same(results[0], expected, "first");
  expect_same(results[1], plain, "without");
  expect_same(results[2], expected, "third");
  const BeamOptions beams{.beams = 3, .results = 1};
  expect_same(session->beam_search(request_for(source_, {"all"}), beams).front().result,
              merged_session->beam_search(request_for(source_), beams).front().result, "beams");
}

TEST_P(TranslatorAdapters, GgufAdaptersUseTheNamesOfGgufFiles) {
  const arch::Family& family = arch::family_named(GetParam(), "test");
  const std::vector<Adapted> targets = targets_of(GetParam());
  fuzz::RawGguf file;
  file.set_string("general.type", "adapter");
  file.set_string("general.architecture", family.gguf);
  file.set_f32("adapter.lora.alpha", kAlpha);
  for (const Adapted& target : targets) {
    const Matrices m = matrices(target);
    const auto add = [&](const char* which, const std::vector<float>& values, std::uint64_t rows) {
      file.tensors.push_back({arch::gguf_name(family, target.weight + ".weight") + which,
                              {values.size() / rows, rows},
                              0,
                              std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)),
                              {}});
    };
    add(".lora_a", m.a, kRank);
    add(".lora_b", m.b, m.out);
  }
  write_file(folder_ / "lora.gguf", file.bytes());
  const auto session = open(file_);
  session->add_adapter("all", formats::load_adapter(folder_ / "lora.gguf", file_.architecture));
  expect_same(session->generate(request_for(source_, {"all"})), open(merged(targets))->generate(request_for(source_)),
              "gguf");
}

TEST_P(TranslatorAdapters, WhatIsNoProductOfALayerIsRefusedByName) {
  const auto refused = [&](const Adapted& target) {
    try {
      adapter("bad", {target});
      ADD_FAILURE() << target.module;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(target.weight), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("adapter_model.safetensors"), std::string::npos) << error.what();
    }
  };
  if (std::string(GetParam()) == "transformer") {
    refused({"token_embd", "decoder.embed_tokens"});
    refused({"enc.token_embd", "encoder.embed_tokens"});
    refused({"output", "lm_head"});
  } else {
    refused({"token_embd", "shared"});
    refused({"enc.blk.0.attn_rel_b", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"});
  }
}

INSTANTIATE_TEST_SUITE_P(All, TranslatorAdapters, testing::Values("t5", "flan-t5", "transformer"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lathe::engine
