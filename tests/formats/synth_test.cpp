// Synthetic models: reproducible, of the shape asked for, finite, loadable, with a vocabulary that works.
#include "formats/synth.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "formats/model_file.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::TempDir;

TEST(Synth, SameSeedSameBytes) {
  const TempDir folder;
  const arch::Architecture a = synth_preset("llama-tiny");
  synthesize(a, folder / "a.gguf", {.codec = "Q4_0", .seed = 7});
  synthesize(a, folder / "b.gguf", {.codec = "Q4_0", .seed = 7});
  synthesize(a, folder / "c.gguf", {.codec = "Q4_0", .seed = 8});
  EXPECT_EQ(read_file(folder / "a.gguf"), read_file(folder / "b.gguf"));
  EXPECT_NE(read_file(folder / "a.gguf"), read_file(folder / "c.gguf"));
}

TEST(Synth, WeightsAreNormalWithUnitGain) {
  const TempDir folder;
  for (const char* codec : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"}) {
    const arch::Architecture a = synth_preset("llama-tiny");
    const auto path = folder / fmt::format("{}.gguf", codec);
    const SynthResult result = synthesize(a, path, {.codec = codec, .seed = 3});
    const ModelFile model = load_model(path);
    EXPECT_EQ(model.architecture, a);
    EXPECT_EQ(model.weights.parameters(), result.parameters);
    EXPECT_EQ(std::filesystem::file_size(path), result.bytes);
    for (const char* name : {"blk.0.attn_q.weight", "blk.3.ffn_down.weight", "token_embd.weight"}) {
      const PackedTensor& tensor = model.weights.at(name);
      EXPECT_EQ(tensor.codec->name(), codec);
      double sum = 0, squares = 0;
      const std::vector<float> values = tensor.to_floats();
      for (const float value : values) {
        ASSERT_TRUE(std::isfinite(value));
        sum += value;
        squares += double{value} * value;
      }
      const double n = static_cast<double>(values.size()),
                   deviation = 1 / std::sqrt(static_cast<double>(tensor.shape.cols()));
      EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.05 * deviation) << codec << " " << name;
      EXPECT_NEAR(sum / n, 0, 0.02 * deviation) << codec << " " << name;
    }
  }
}

TEST(Synth, VocabularyEncodesAndDecodes) {
  const TempDir folder;
  for (const char* preset : {"llama-tiny", "gpt2-tiny"}) {
    synthesize(synth_preset(preset), folder / "m.gguf", {.codec = "Q8_0"});
    const ModelFile model = load_model(folder / "m.gguf");
    ASSERT_NE(model.tokenizer, nullptr);
    EXPECT_EQ(model.tokenizer->size(), model.architecture.vocab_size);
    const std::string text = "the rain in spain stays mainly";
    const auto ids = model.tokenizer->encode(text, {.add_special = false});
    EXPECT_LT(ids.size(), text.size()) << "longer pieces are reached";
    EXPECT_EQ(model.tokenizer->decode(ids, {.skip_special = true}), text);
  }
}

TEST(Synth, FallsBackVisiblyForRowsThatDoNotDivide) {
  const TempDir folder;
  arch::Architecture a = synth_preset("llama-tiny");
  a.ffn_width = 300;
  synthesize(a, folder / "m.gguf", {.codec = "Q4_K"});
  const ModelFile model = load_model(folder / "m.gguf");
  EXPECT_EQ(model.weights.at("blk.0.ffn_down.weight").codec->name(), "F16");
  EXPECT_EQ(model.weights.at("blk.0.ffn_up.weight").codec->name(), "Q4_K");
}

TEST(Synth, RefusesBadShapes) {
  const TempDir folder;
  arch::Architecture a = synth_preset("llama-tiny");
  a.n_kv_heads = 3;
  EXPECT_THROW(synthesize(a, folder / "m.gguf"), Error);
  EXPECT_THROW(synth_preset("llama-900b"), Error);
  EXPECT_THROW(synthesize(synth_preset("llama-tiny"), folder / "m.gguf", {.codec = "I64"}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace lathe::formats
