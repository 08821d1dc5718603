// Real models of every layout that lies at hand; layouts of the same model must agree.
#include "formats/model_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arch/families.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::shared;

TEST(LoadModel, ReadsStories260KGguf) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const ModelFile model = load_model(shared("models/stories260K/stories260K.gguf"));
  const arch::Architecture& a = model.architecture;
  EXPECT_EQ(model.kind, FileKind::kGguf);
  EXPECT_EQ(a.family, "llama");
  EXPECT_EQ(a.n_layers, 5u);
  EXPECT_EQ(a.width, 64u);
  EXPECT_EQ(a.ffn_width, 172u);
  EXPECT_EQ(a.n_heads, 8u);
  EXPECT_EQ(a.n_kv_heads, 4u);
  EXPECT_EQ(a.head_dim, 8u);
  EXPECT_EQ(a.vocab_size, 512u);
  EXPECT_EQ(a.context_length, 2048u);
  EXPECT_FLOAT_EQ(a.norm_eps, 1e-5f);
  EXPECT_FALSE(a.tied_embeddings);  // this file stores the output matrix again
  EXPECT_EQ(a.rope_layout, RopeLayout::kInterleaved);
  EXPECT_EQ(model.weights.parameters(), 292800u);
  ASSERT_NE(model.tokenizer, nullptr);
  EXPECT_EQ(model.tokenizer->size(), 512u);
  const auto ids = model.tokenizer->encode("Once upon a time");
  EXPECT_EQ(ids, (std::vector<text::TokenId>{1, 403, 407, 261, 378}));
}

TEST(LoadModel, GgufAndLlama2cHoldTheSameStories260K) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const ModelFile gguf = load_model(shared("models/stories260K/stories260K.gguf"));
  const ModelFile bin = load_model(shared("models/stories260K/stories260K.bin"));
  EXPECT_EQ(bin.kind, FileKind::kLlama2c);
  EXPECT_TRUE(bin.architecture.tied_embeddings);
  EXPECT_EQ(bin.weights.parameters(), 260032u);
  const std::string text = "Lily and Tom went to the park.\nIt was a sunny day!";
  EXPECT_EQ(bin.tokenizer->encode(text), gguf.tokenizer->encode(text));
  for (const auto& [name, tensor] : bin.weights.all()) {
    EXPECT_EQ(tensor.to_floats(), gguf.weights.at(name).to_floats()) << name;
  }
}

TEST(LoadModel, Stories3MHalfPrecisionAndInt8AreClose) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-f16.gguf");
  const ModelFile half = load_model(shared("models/stories3M-q80/stories3M-f16.gguf"));
  EXPECT_EQ(half.architecture.vocab_size, 4096u);
  EXPECT_EQ(half.architecture.n_kv_heads, 2u);
  EXPECT_EQ(half.weights.at("blk.0.attn_q.weight").codec->name(), "F16");
  EXPECT_EQ(half.weights.at("blk.0.attn_norm.weight").codec->name(), "F32");
}

}  // namespace
}  // namespace lathe::formats
