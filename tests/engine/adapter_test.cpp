// LoRA files applied at run time: PEFT folders and GGUF adapters, against the same model with the update folded into
// its weights by the test itself.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "arch/families.h"
#include "base/file.h"
#include "engine/session.h"
#include "formats/adapter_readers.h"
#include "fuzz/raw_files.h"
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

struct AdapterBytes {
  std::string header, data;  // of a safetensors file
};

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

  // W += scale * B A, with B in Hugging Face row order, or as the rows of W are.
  formats::ModelFile merged(float scale, bool hf_rows = true) const {
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
              sum += double{b[(hf_rows ? hf_row(weight, row) : row) * kRank + r]} * a[r * in(weight) + column];
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

  // A GGUF adapter written by hand, as the format's documentation lays it out: header, key-values, tensor table, data.
  // Sizes are counted from the dimension that varies fastest.
  class GgufBytes {
   public:
    void u32(std::uint32_t value) { raw(value); }
    void u64(std::uint64_t value) { raw(value); }
    void text(const std::string& value) {
      u64(value.size());
      bytes += value;
    }
    void key(const std::string& name, const std::string& value) {
      text(name);
      u32(8);  // a string
      text(value);
    }
    void key(const std::string& name, float value) {
      text(name);
      u32(6);  // a 32-bit float
      raw(value);
    }
    void align() { bytes.resize((bytes.size() + 31) / 32 * 32, 0); }
    std::string bytes = "GGUF";

   private:
    template <class T>
    void raw(T value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  };

  struct GgufAdapter {
    std::string type = "adapter", adapter_type = "lora", architecture = "llama";
    float alpha = 6;
    std::string wrong_shape;  // the name of a tensor that gets a row too many
    std::string only;         // when set, the one tensor the file has
  };

  void write_gguf(const std::filesystem::path& path, const GgufAdapter& adapter) const {
    struct Tensor {
      std::string name;
      std::uint64_t fast, slow;
      std::vector<float> data;
    };
    std::vector<Tensor> tensors;
    for (std::size_t t = 0; t < targets_.size(); ++t) {
      const std::string& weight = targets_[t].weight;
      tensors.push_back({weight + ".weight.lora_a", in(weight), kRank, values(kRank * in(weight), 2 * t)});
      tensors.push_back({weight + ".weight.lora_b", kRank, out(weight), values(out(weight) * kRank, 2 * t + 1)});
    }
    std::erase_if(tensors, [&](const Tensor& one) { return !adapter.only.empty() && one.name != adapter.only; });
    GgufBytes file;
    file.u32(3);
    file.u64(tensors.size());
    file.u64(4);
    file.key("general.type", adapter.type);
    file.key("general.architecture", adapter.architecture);
    file.key("adapter.type", adapter.adapter_type);
    file.key("adapter.lora.alpha", adapter.alpha);
    std::uint64_t offset = 0;
    for (Tensor& tensor : tensors) {
      if (tensor.name == adapter.wrong_shape) {
        ++tensor.slow;
        tensor.data.resize(tensor.fast * tensor.slow);
      }
      file.text(tensor.name);
      file.u32(2);
      file.u64(tensor.fast);
      file.u64(tensor.slow);
      file.u32(0);  // F32
      file.u64(offset);
      offset += (tensor.data.size() * sizeof(float) + 31) / 32 * 32;
    }
    for (const Tensor& tensor : tensors) {
      file.align();
      file.bytes.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size() * sizeof(float));
    }
    file.align();
    write_file(path, file.bytes);
  }

  std::vector<float> last_logits(Session& session, const std::vector<text::TokenId>& ids) {
    std::vector<float> last;
    session.logits(ids, ids.size() - 1,
                   [&](std::size_t, std::span<const float> row) { last.assign(row.begin(), row.end()); });
    return last;
  }

  static api::GenerateRequest greedy(std::vector<api::AdapterUse> adapters) {
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

TEST_F(AdapterTest, AGgufAdapterEqualsMergedWeights) {
  write_gguf(folder_ / "lora.gguf", {});
  const auto session = runtime_.open(runtime_.load(file_), file_.tokenizer);
  session->add_adapter("lora", formats::load_adapter(folder_ / "lora.gguf", file_.architecture));
  // Its rows are those of the model's own GGUF file, whatever RoPE pairs them.
  const auto merged_session = runtime_.open(runtime_.load(merged(6.0f / 4, false)), file_.tokenizer);
  const auto plain = session->generate(greedy({})), adapted = session->generate(greedy({"lora"}));
  expect_same(adapted, merged_session->generate(greedy({})));
  EXPECT_NE(plain.text, adapted.text);
  write_gguf(folder_ / "whole.gguf", {.alpha = 0});  // none: the update as it is
  EXPECT_FLOAT_EQ(formats::load_adapter(folder_ / "whole.gguf", file_.architecture).low_rank.at("blk.0.attn_q").scale,
                  1);
}

TEST_F(AdapterTest, AGgufAdapterThatDoesNotFitIsRefusedByName) {
  const auto refused = [&](const GgufAdapter& adapter, const std::vector<std::string>& says) {
    write_gguf(folder_ / "bad.gguf", adapter);
    try {
      formats::load_adapter(folder_ / "bad.gguf", file_.architecture);
      ADD_FAILURE() << says.front();
    } catch (const Error& error) {
      for (const std::string& text : says)
        EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("bad.gguf"), std::string::npos) << error.what();
    }
  };
  refused({.type = "model"}, {"not an adapter"});
  refused({.adapter_type = "control_vector"}, {"control_vector"});
  refused({.architecture = "gpt2"}, {"gpt2", "llama"});
  refused({.alpha = std::numeric_limits<float>::infinity()}, {"alpha"});
  refused({.wrong_shape = "blk.3.ffn_gate.weight.lora_b"}, {"blk.3.ffn_gate", "another model"});
  refused({.wrong_shape = "blk.4.ffn_down.weight.lora_a"}, {"blk.4.ffn_down", "another model"});
  refused({.only = "blk.2.attn_output.weight.lora_a"}, {"blk.2.attn_output", "only one"});
  refused({.only = "no such tensor"}, {"no low-rank tensors"});
  // Cut off anywhere, it is an error and nothing worse.
  write_gguf(folder_ / "whole.gguf", {});
  const std::string whole = read_file(folder_ / "whole.gguf");
  for (std::size_t size = 0; size < whole.size(); size += 1 + whole.size() / 97) {
    write_file(folder_ / "cut.gguf", whole.substr(0, size));
    EXPECT_THROW(formats::load_adapter(folder_ / "cut.gguf", file_.architecture), Error) << size;
  }
}

TEST_F(AdapterTest, ADraftChangesNothingUnderAdapters) {
  write_gguf(folder_ / "lora.gguf", {});
  const auto file = formats::load_adapter(folder_ / "lora.gguf", file_.architecture);
  const auto model = runtime_.load(file_);
  const std::vector<api::GenerateRequest> requests = {greedy({"lora"}), greedy({}), greedy({"lora", "half"})};
  const auto answers = [&](const DraftOptions& draft) {
    const auto session = runtime_.open(model, file_.tokenizer, {.draft = draft});
    session->add_adapter("lora", file);
    session->add_adapter("half", file, 0.5f);
    return session->generate_all(requests);
  };
  const auto plain = answers({});
  EXPECT_NE(plain[0].text, plain[1].text);
  for (const DraftOptions& draft :
       {DraftOptions{.kind = DraftKind::kLayers, .layers = 3}, DraftOptions{.kind = DraftKind::kNgram},
        DraftOptions{.kind = DraftKind::kModel, .model = model, .tokenizer = file_.tokenizer}}) {
    const auto drafted = answers(draft);
    for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(drafted[i].text, plain[i].text) << i;
  }
}

TEST_F(AdapterTest, RequestsWithAndWithoutItShareABatch) {
  write_peft(folder_ / "lora", R"({"lora_alpha":6})");
  const auto session = runtime_.open(runtime_.load(file_), file_.tokenizer);
  const auto file = formats::load_adapter(folder_ / "lora", file_.architecture);
  session->add_adapter("full", file);
  session->add_adapter("half", file, 0.5f);
  const std::vector<api::GenerateRequest> requests = {
      greedy({"full"}),         greedy({}),
      greedy({"half"}),         greedy({"half", "half"}),
      greedy({{"full", 0.5f}}), greedy({{"half", -2.0f}, {"full", 1.0f}})};
  const auto together = session->generate_all(requests);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(together[i].text, session->generate(requests[i]).text) << i;
  expect_same(together[3], together[0]);  // twice a half is the whole
  expect_same(together[4], together[2]);
  expect_same(together[5], together[1]);  // taken off again
  EXPECT_GT(std::abs(together[4].tokens[0].logprob - together[0].tokens[0].logprob), 1e-3);
  EXPECT_THROW(session->generate(greedy({{"full", NAN}})), UsageError);
}

TEST_F(AdapterTest, ScalesFollowTheConfiguration) {
  struct Case {
    std::string config;
    std::vector<float> scales;  // of the targets in turn: layer 0 q, 1 k, 2 o, 3 gate, 4 down
  };
  const std::vector<Case> cases = {
      {R"({"lora_alpha":3,"use_rslora":true})", {1.5f, 1.5f, 1.5f, 1.5f, 1.5f}},
      {R"({"lora_alpha":4,"alpha_pattern":{"o_proj":8}})", {1, 1, 2, 1, 1}},
      {R"({"lora_alpha":4,"alpha_pattern":null,"rank_pattern":{}})", {1, 1, 1, 1, 1}},
      // Regular expressions that begin at a dot or with the name and reach to its end.
      {R"({"lora_alpha":4,"alpha_pattern":{"layers\\.0\\.self_attn\\.q_proj":8}})", {2, 1, 1, 1, 1}},
      {R"({"lora_alpha":4,"alpha_pattern":{".*(q|k)_proj":8,"layers.[34].mlp.\\w+":12}})", {2, 2, 1, 3, 3}},
      {R"({"lora_alpha":4,"alpha_pattern":{"^model.layers.2.self_attn.o_proj":8}})", {1, 1, 2, 1, 1}},
      {R"({"lora_alpha":4,"alpha_pattern":{"gate_proj|down_proj":0.5}})", {1, 1, 1, 0.125f, 0.125f}},
      // Of several that match, the first.
      {R"({"lora_alpha":4,"alpha_pattern":{"q_proj":8,".*_proj":16}})", {2, 4, 4, 4, 4}},
      {R"({"lora_alpha":4,"alpha_pattern":{".*_proj":16,"q_proj":8}})", {4, 4, 4, 4, 4}},
      // Ranks are those of the tensors, 4.
      {R"({"r":8,"lora_alpha":4,"rank_pattern":{".*":4}})", {1, 1, 1, 1, 1}},
      {R"({"r":4,"lora_alpha":4,"init_lora_weights":"gaussian","use_dora":false,"layer_replication":null})",
       {1, 1, 1, 1, 1}},
  };
  for (const Case& one : cases) {
    write_peft(folder_ / "scales", one.config);
    const auto adapter = formats::load_adapter(folder_ / "scales", file_.architecture);
    for (std::size_t t = 0; t < targets_.size(); ++t)
      EXPECT_FLOAT_EQ(adapter.low_rank.at(targets_[t].weight).scale, one.scales[t]) << one.config << " " << t;
  }
}

TEST_F(AdapterTest, WhatLowRankCannotExpressIsRefused) {
  const auto refused = [&](const std::string& config, const std::vector<std::string>& says) {
    write_peft(folder_ / "bad", config);
    try {
      formats::load_adapter(folder_ / "bad", file_.architecture);
      ADD_FAILURE() << config;
    } catch (const Error& error) {
      for (const std::string& text : says)
        EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("adapter_config.json"), std::string::npos) << error.what();
    }
  };
  refused(R"({"peft_type":"IA3"})", {"IA3"});
  refused(R"({"use_dora":true})", {"use_dora"});
  refused(R"({"use_qalora":true})", {"use_qalora"});
  refused(R"({"use_bdlora":{"nblocks":2}})", {"use_bdlora"});
  refused(R"({"bias":"all"})", {"biases"});
  refused(R"({"lora_bias":true})", {"lora_bias"});
  refused(R"({"modules_to_save":["lm_head"]})", {"modules_to_save"});
  refused(R"({"trainable_token_indices":[1]})", {"trainable_token_indices"});
  refused(R"({"layer_replication":[[0,4],[2,5]]})", {"layer_replication"});
  refused(R"({"alora_invocation_tokens":[1,2]})", {"alora_invocation_tokens"});
  refused(R"({"init_lora_weights":"pissa_niter_16"})", {"pissa_niter_16", "path_initial_model_for_weight_conversion"});
  refused(R"({"lora_alpha":1e300})", {"alpha"});
  refused(R"({"alpha_pattern":{"o_proj":1e300}})", {"alpha"});
  refused(R"({"r":8})", {"model.layers.0.self_attn.q_proj", "rank 8", "have 4"});
  refused(R"({"r":4,"rank_pattern":{"layers.3.*":2}})", {"model.layers.3.mlp.gate_proj", "rank 2", "have 4"});
  refused("[]", {"JSON object"});
  refused("{", {});
}

TEST_F(AdapterTest, PatternsThatMatchNothingOrDoNotEndAreRefused) {
  const auto refused = [&](const std::string& pattern, const std::vector<std::string>& says) {
    for (const std::string key : {"alpha_pattern", "rank_pattern"}) {
      write_peft(folder_ / "bad", fmt::format(R"({{"{}":{}}})", key, pattern));
      try {
        formats::load_adapter(folder_ / "bad", file_.architecture);
        ADD_FAILURE() << pattern;
      } catch (const Error& error) {
        for (const std::string& text : says)
          EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
      }
    }
  };
  refused(R"({".*_proj":4,"v_proj":4})", {"v_proj", "matches no module"});
  refused(R"({"proj":4})", {"matches no module"});     // no whole part of a name
  refused(R"({"q_proj.":4})", {"matches no module"});  // one character too many
  refused(R"({"layers.(0":4})", {"layers.(0", "invalid regular expression"});
  refused(R"({"q_proj":"4"})", {"q_proj", "no number"});
  refused(R"(["q_proj"])", {"no JSON object"});
  refused(R"({"([a-z0-9._]+)+[!?]":4})", {"gave up"});
  std::string many;
  for (int i = 0; i < 2000; ++i) many += fmt::format(R"({}".*{}":4)", many.empty() ? "" : ",", i);
  refused("{" + many + "}", {"too many"});
}

// B [rows, 1] with every value its row's number, and A of one row; the file's data begin with `before` bytes of others.
AdapterBytes numbered(const std::string& module, std::uint64_t rows, std::uint64_t columns, std::size_t before = 0) {
  std::vector<float> values(columns, 1);
  for (std::uint64_t row = 0; row < rows; ++row) values.push_back(static_cast<float>(row));
  const std::string data(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return {fmt::format(R"("{0}.lora_A.weight":{{"dtype":"F32","shape":[1,{1}],"data_offsets":[{2},{3}]}},)"
                      R"("{0}.lora_B.weight":{{"dtype":"F32","shape":[{4},1],"data_offsets":[{3},{5}]}})",
                      module, columns, before, before + columns * sizeof(float), rows, before + data.size()),
          data};
}

// Rows of B are rows of the checkpoint's matrix: they are put in order as those are.
TEST(AdapterRows, FollowTheOrderOfTheFamilysCheckpoints) {
  const auto rows_of = [](const char* family, const std::string& weight, const std::string& module) {
    const arch::Architecture a = arch::small_shape(arch::family_named(family, "test"));
    const std::uint64_t rows = weight.ends_with("qkv") ? 3 * a.width : a.width;
    const AdapterBytes bytes = numbered(module, rows, a.width);
    const std::string file = fuzz::raw_safetensors("{" + bytes.header + "}", bytes.data);
    return formats::read_peft_adapter("{}", "adapter_config.json", Bytes(std::as_bytes(std::span(file)), "tensors"), a)
        .low_rank.at(weight)
        .b.to_floats();
  };
  // GPT-J's checkpoints pair neighbouring elements, and so does Lathe for it: nothing moves.
  const std::vector<float> plain = rows_of("gptj", "blk.0.attn_q", "transformer.h.0.attn.q_proj");
  for (std::size_t row = 0; row < plain.size(); ++row) ASSERT_EQ(plain[row], static_cast<float>(row));
  // GPT-NeoX has query, key and value of a head side by side: 8 heads of 32.
  arch::Architecture neox = arch::small_shape(arch::family_named("gptneox", "test"));
  const std::uint64_t dim = neox.head_dim, width = neox.width;
  const std::vector<float> fused = rows_of("gptneox", "blk.1.attn_qkv", "gpt_neox.layers.1.attention.query_key_value");
  for (std::uint64_t part = 0; part < 3; ++part) {
    for (std::uint64_t row = 0; row < width; ++row) {
      const std::uint64_t head = row / dim;
      ASSERT_EQ(fused[part * width + row], static_cast<float>(head * 3 * dim + part * dim + row % dim));
    }
  }
}

TEST(AdapterNames, AMatrixGivenTwiceIsRefused) {
  const arch::Architecture a = arch::small_shape(arch::family_named("llama", "test"));
  const AdapterBytes one = numbered("base_model.model.model.layers.0.self_attn.q_proj", a.width, a.width),
                     other = numbered("model.layers.0.self_attn.q_proj", a.width, a.width, one.data.size());
  const std::string file = fuzz::raw_safetensors("{" + one.header + "," + other.header + "}", one.data + other.data);
  try {
    formats::read_peft_adapter("{}", "adapter_config.json", Bytes(std::as_bytes(std::span(file)), "tensors"), a);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("q_proj"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("twice"), std::string::npos) << error.what();
  }
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
