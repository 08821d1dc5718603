// The sinks policy on the model that ships with Lathe: memory stays bounded, results do not depend on chunking, and
// where nothing has been forgotten yet it equals full attention.
#include <gtest/gtest.h>

#include "engine/session.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

class SinksTest : public ::testing::Test {
 protected:
  SinksTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::vector<std::vector<float>> logits(const std::string& policy, std::uint32_t chunk, std::size_t count) {
    const auto session = runtime_.open(model_, file_.tokenizer,
                                       {.kv_codec = kernels::KvCodec::kF32, .kv_policy = policy, .chunk = chunk});
    std::vector<text::TokenId> ids = {1};
    while (ids.size() < count) ids.push_back(static_cast<text::TokenId>(260 + (ids.size() * 37) % 200));
    std::vector<std::vector<float>> rows;
    session->logits(ids, 0,
                    [&](std::size_t, std::span<const float> row) { rows.emplace_back(row.begin(), row.end()); });
    return rows;
  }

  Runtime runtime_{{.cpu = {.threads = 1}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(SinksTest, ChunkingDoesNotChangeAByte) {
  const auto whole = logits("sinks:4+40", 256, 200);
  EXPECT_EQ(whole, logits("sinks:4+40", 64, 200));
  EXPECT_EQ(whole, logits("sinks:4+40", 7, 200));
  EXPECT_EQ(whole, logits("sinks:4+40", 1, 200));
}

TEST_F(SinksTest, EqualsFullAttentionWhileTheWindowCoversEverything) {
  const auto full = logits("full", 256, 120), sinks = logits("sinks:4+60", 256, 120);
  // The same terms, merged from two runs instead of one.
  for (std::size_t position = 0; position < 60; ++position) {
    for (std::size_t id = 0; id < full[position].size(); ++id) {
      EXPECT_NEAR(full[position][id], sinks[position][id], 1e-4) << position << " " << id;
    }
  }
  EXPECT_NE(full[119], sinks[119]);
}

TEST_F(SinksTest, MemoryStaysThatOfTheWindow) {
  api::GenerateRequest request;
  request.prompt = "Once upon a time";
  request.max_tokens = 480;
  request.ignore_eos = true;
  request.sampling.temperature = 0;
  const kernels::KvLayout layout{kernels::KvCodec::kF16, file_.architecture.n_kv_heads, file_.architecture.head_dim,
                                 file_.architecture.v_head_dim, 32};
  const std::uint64_t block = runtime_.backend().kv_block_bytes(layout) * file_.architecture.n_layers;
  Runtime tight({.cpu = {.threads = 1}, .kv_bytes = 5 * block});  // 480 tokens would be 16 blocks
  const auto session =
      tight.open(tight.load(file_), file_.tokenizer, {.kv_policy = "sinks:4+64", .prefix_cache = false});
  EXPECT_EQ(session->generate(request).tokens.size(), 480u);
}

}  // namespace
}  // namespace lathe::engine
