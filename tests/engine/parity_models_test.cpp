// The other real models: llama2.c checkpoints, zh-poem, smiles-gpt2, gpt-nano-sort. Each against what its makers
// recorded where there is a recording, and against the double-precision forward pass on its decoded weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "engine/parity_support.h"
#include "formats/json_tensors.h"
#include "support/data.h"
#include "text/tokenizer.h"

namespace lathe::test {
namespace {

// Executor against reference: the order of float sums.
constexpr double kTolerance = 2e-5;

Executor executor_for(const formats::ModelFile& file, std::uint32_t context) {
  return Executor(file.architecture, file.weights, cpu(2),
                  {.max_rows = 128, .context = context, .block_tokens = 32, .kv_bytes = 64 << 20});
}

double error_against_reference(const formats::ModelFile& file, std::span<const std::int32_t> ids) {
  Executor executor = executor_for(file, file.architecture.context_length);
  const auto expected =
      reference_forward(file.architecture, decode(file.weights), ids, file.architecture.context_length);
  return relative_error(executor.logits(ids), expected.logits);
}

// llama2.c writes 200 tokens, the prompt among them, without BOS and the space after it.
std::string recorded_text(std::string_view path) {
  std::string text = read_file(shared(path));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

TEST(ParityLlama2c, Float32TextIsTheRecordedOne) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.bin");
  const formats::ModelFile file = formats::load_model(shared("models/stories260K/stories260K.bin"));
  ASSERT_NE(file.tokenizer, nullptr);
  Ids ids = file.tokenizer->encode("Once upon a time");
  ASSERT_EQ(ids.front(), 1) << "BOS";
  Executor executor = executor_for(file, 512);
  const Ids prompts[] = {ids};
  const Continuation ours = greedy(executor, prompts, 201 - ids.size()).front();
  ids.insert(ids.end(), ours.ids.begin(), ours.ids.end());
  EXPECT_EQ(file.tokenizer->decode(ids, {.skip_special = true}),
            recorded_text("models/stories260K/greedy_f32_200.txt"));
}

// The program that recorded this text rounds the input of every product to 8 bits in the file's groups; the reference
// that does the same must choose each of its tokens. (The executor is held to the reference without rounding, below.)
TEST(ParityLlama2c, EightBitTextIsTheReferencesWithItsRounding) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-q80.bin");
  const formats::ModelFile file = formats::load_model(shared("models/stories3M-q80/stories3M-q80.bin"));
  ASSERT_NE(file.tokenizer, nullptr);
  const Ids ids = file.tokenizer->encode(recorded_text("models/stories3M-q80/greedy_q80_200.txt"));
  const std::size_t prompt = file.tokenizer->encode("Once upon a time").size(), vocab = file.architecture.vocab_size;
  ASSERT_GT(ids.size(), 150u);
  const auto logits = reference_forward(file.architecture, decode(file.weights), ids, 512, 64).logits;
  std::size_t different = 0;
  for (std::size_t t = prompt - 1; t + 1 < ids.size(); ++t) {
    const double* row = logits.data() + t * vocab;
    const double behind = *std::max_element(row, row + vocab) - row[ids[t + 1]];
    // float against double: where a rounding to 8 bits falls the other way, logits move by a tenth.
    EXPECT_LT(behind, 0.2) << "token " << t + 1;
    different += behind > 0 ? 1 : 0;
  }
  EXPECT_LE(different, 2u);
}

TEST(ParityLlama2c, CheckpointAndGgufAreTheSameModel) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.bin");
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const formats::ModelFile bin = formats::load_model(shared("models/stories260K/stories260K.bin"));
  const formats::ModelFile gguf = formats::load_model(shared("models/stories260K/stories260K.gguf"));
  const Ids ids = random_ids(120, 512, 1);
  Executor first = executor_for(bin, 512), second = executor_for(gguf, 512);
  EXPECT_EQ(first.logits(ids), second.logits(ids));
}

TEST(ParityLlama2c, LogitsEqualTheReferenceOnTheDecodedWeights) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-q80.bin");
  LATHE_NEED_SHARED("models/stories260K/stories260K-q8.bin");
  for (const char* path : {"models/stories3M-q80/stories3M-q80.bin", "models/stories260K/stories260K-q8.bin"}) {
    const formats::ModelFile file = formats::load_model(shared(path));
    Ids ids = random_ids(48, file.architecture.vocab_size, 2);
    ids[0] = 1;
    EXPECT_LT(error_against_reference(file, ids), kTolerance) << path;
  }
}

// The groups of the 8-bit file run on from row to row (172 columns, groups of 8), so that a wrong scale would put whole
// stretches of a matrix off.
TEST(ParityLlama2c, EightBitWeightsAreTheFloatOnesRounded) {
  LATHE_NEED_SHARED("models/stories260K/stories260K-q8.bin");
  LATHE_NEED_SHARED("models/stories260K/stories260K.bin");
  const NamedFloats exact = decode(formats::load_model(shared("models/stories260K/stories260K.bin")).weights);
  const NamedFloats rounded = decode(formats::load_model(shared("models/stories260K/stories260K-q8.bin")).weights);
  ASSERT_EQ(exact.size(), rounded.size());
  for (const auto& [name, values] : exact) {
    const auto& other = rounded.at(name);
    for (std::size_t begin = 0; begin < values.size(); begin += 8) {
      float largest = 0;
      for (std::size_t i = begin; i < begin + 8; ++i) largest = std::max(largest, std::abs(values[i]));
      for (std::size_t i = begin; i < begin + 8; ++i) {
        ASSERT_NEAR(other[i], values[i], largest * 0.504f / 127) << name << "[" << i << "]";
      }
    }
  }
}

TEST(ParityZhPoem, GreedyIsTheReferences) {
  LATHE_NEED_SHARED("models/zh-poem/poem_model.bin");
  const formats::ModelFile file = formats::load_model(shared("models/zh-poem/poem_model.bin"));
  Executor executor = executor_for(file, file.architecture.context_length);
  // "主题：明月 体裁：五绝" and a newline when the vocabulary is there; any ids will do for the comparison.
  Ids prompt = random_ids(12, file.architecture.vocab_size - 3, 4);
  for (std::int32_t& id : prompt) id += 3;
  if (file.tokenizer != nullptr) prompt = file.tokenizer->encode("主题：明月 体裁：五绝\n");
  ASSERT_LT(prompt.size(), 60u);
  const Ids prompts[] = {prompt};
  const std::size_t steps = 60;
  const Continuation ours = greedy(executor, prompts, steps, 3).front();
  Ids all = prompt;
  all.insert(all.end(), ours.ids.begin(), ours.ids.end());
  const auto expected =
      reference_forward(file.architecture, decode(file.weights), all, file.architecture.context_length);
  EXPECT_LT(relative_error(executor.logits(all), expected.logits), kTolerance);
  const std::size_t vocab = file.architecture.vocab_size;
  for (std::size_t step = 0; step < steps; ++step) {
    const double* row = expected.logits.data() + (prompt.size() - 1 + step) * vocab;
    const double best = *std::max_element(row + 3, row + vocab);
    EXPECT_LE(best - row[ours.ids[step]], 1e-4) << step;
    EXPECT_GE(ours.ids[step], 3);
  }
}

TEST(ParitySmilesGpt2, LogitsEqualTheReference) {
  LATHE_NEED_SHARED("models/smiles-gpt2_0.5m/model.safetensors");
  const formats::ModelFile file = formats::load_model(shared("models/smiles-gpt2_0.5m"));
  ASSERT_EQ(file.architecture.context_length, 74u);
  Ids ids = random_ids(74, 66, 6);
  ids[0] = 13;  // its BOS
  EXPECT_LT(error_against_reference(file, ids), kTolerance);
}

// Plausible molecules: the model was trained on SMILES, so a wrong transposition or activation shows at once as text
// that no chemist would write. Its own evaluation loss is 0.627; greedy text should be far likelier than that.
TEST(ParitySmilesGpt2, GreedyTextIsLikely) {
  LATHE_NEED_SHARED("models/smiles-gpt2_0.5m/model.safetensors");
  const formats::ModelFile file = formats::load_model(shared("models/smiles-gpt2_0.5m"));
  Executor executor = executor_for(file, 74);
  const Ids prompts[] = {{13}};
  const Continuation ours = greedy(executor, prompts, 40).front();
  const auto end = std::find(ours.ids.begin(), ours.ids.end(), 14);
  Ids all = {13};
  all.insert(all.end(), ours.ids.begin(), end);
  ASSERT_GT(all.size(), 8u);
  const auto logits = executor.logits(all);
  double loss = 0;
  for (std::size_t t = 0; t + 1 < all.size(); ++t) {
    double sum = 0;
    for (std::size_t id = 0; id < 66; ++id) sum += std::exp(double{logits[t * 66 + id]});
    loss += std::log(sum) - logits[t * 66 + static_cast<std::size_t>(all[t + 1])];
  }
  EXPECT_LT(loss / double(all.size() - 1), 1.0);
}

// --- gpt-nano-sort: its makers' activations, layer by layer ---

class Activations final : public model::ForwardHooks {
 public:
  std::map<std::string, std::vector<float>> inputs;  // by the first weight that reads them
  std::vector<std::vector<float>> layers;
  void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override {
    inputs[op.linears[0].weight] = copy(x, backend, stream);
  }
  bool on_layer_output(int, kernels::DeviceTensor x, kernels::Backend& backend, kernels::Stream& stream) override {
    layers.push_back(copy(x, backend, stream));
    return true;
  }

 private:
  static std::vector<float> copy(kernels::DeviceTensor x, kernels::Backend& backend, kernels::Stream& stream) {
    std::vector<float> values(x.rows * x.cols);
    EXPECT_EQ(x.stride, x.cols);
    backend.download(stream, values.data(), x.data, values.size() * sizeof(float));
    return values;
  }
};

TEST(ParityGptNanoSort, EveryRecordedActivation) {
  LATHE_NEED_SHARED("models/gpt-nano-sort/gpt-nano-sort-model.json");
  LATHE_NEED_SHARED("models/gpt-nano-sort/gpt-nano-sort-t0-partials.json");
  const formats::ModelFile file = formats::load_model(shared("models/gpt-nano-sort/gpt-nano-sort-model.json"));
  const Json recorded = read_json(shared("models/gpt-nano-sort/gpt-nano-sort-t0-partials.json"));
  const auto tensor = [&](const char* name) {
    const std::string bytes = formats::base64_decode(recorded[name]["data"].get<std::string>(), name);
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), values.size() * 4);
    return values;
  };
  const auto idx = tensor("idx");
  ASSERT_EQ(idx.size(), 33u);
  const NamedFloats weights = decode(file.weights);
  for (std::size_t b = 0; b < 3; ++b) {
    const Ids ids(idx.begin() + b * 11, idx.begin() + (b + 1) * 11);
    const auto expect_near = [&](std::span<const float> ours, const char* name) {
      const auto all = tensor(name);
      ASSERT_EQ(ours.size() * 3, all.size()) << name;
      for (std::size_t i = 0; i < ours.size(); ++i) {
        ASSERT_NEAR(ours[i], all[b * ours.size() + i], 1e-4) << name << " [" << b << "][" << i << "]";
      }
    };
    Executor executor = executor_for(file, 11);
    Activations seen;
    const auto state = executor.sequence();
    const model::Segment segment{ids};
    const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
    std::vector<float> logits;
    executor.forward().forward({&input, 1}, {.hooks = &seen},
                               [&](std::size_t, std::uint64_t, std::span<const float> row) {
                                 logits.insert(logits.end(), row.begin(), row.end());
                               });
    expect_near(seen.inputs["blk.0.attn_qkv"], "ln1");
    expect_near(seen.inputs["blk.0.attn_output"], "y");
    expect_near(seen.inputs["blk.0.ffn_up"], "ln2");
    expect_near(seen.inputs["blk.0.ffn_down"], "gelu");
    expect_near(seen.layers.at(0), "block0");
    expect_near(seen.layers.at(1), "block1");
    expect_near(seen.layers.at(2), "block2");
    expect_near(seen.inputs["output"], "ln_f");
    expect_near(logits, "lm_head");
    // The reference forward pass stands the same test, which ties it to a third implementation.
    const ReferenceResult reference = reference_forward(file.architecture, weights, ids, 11);
    const auto floats = [](const std::vector<double>& values) {
      return std::vector<float>(values.begin(), values.end());
    };
    expect_near(floats(reference.layers[2]), "block2");
    expect_near(floats(reference.logits), "lm_head");
  }
}

TEST(ParityGptNanoSort, SortsLetters) {
  LATHE_NEED_SHARED("models/gpt-nano-sort/gpt-nano-sort-model.json");
  const formats::ModelFile file = formats::load_model(shared("models/gpt-nano-sort/gpt-nano-sort-model.json"));
  Executor executor = executor_for(file, 11);
  std::vector<Ids> prompts;
  for (int i = 0; i < 20; ++i) prompts.push_back(random_ids(6, 3, 50 + i));
  const auto sorted = greedy(executor, prompts, 6);
  int right = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Ids expected = prompts[i];
    std::sort(expected.begin(), expected.end());
    right += sorted[i].ids == expected ? 1 : 0;
  }
  EXPECT_GE(right, 19) << "its makers trained it to sort";
}

}  // namespace
}  // namespace lathe::test
