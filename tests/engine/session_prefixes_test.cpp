// The prefix cache from one session to the next, through a file.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "formats/fingerprint.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

constexpr std::uint64_t kNoLimit = 1 << 30;
constexpr std::uint32_t kBlockTokens = 32;

class SessionPrefixesTest : public testing::Test {
 protected:
  SessionPrefixesTest() : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")) {
    for (int i = 0; i < 12; ++i) prompt_ += "Once upon a time, there was a little girl named Lily. ";
  }

  std::unique_ptr<Session> open(SessionOptions options = {}) {
    auto session = runtime_.open(runtime_.load(file_), file_.tokenizer, options);
    // One adapter under the name "lora" that makes queries or keys of the first layer larger.
    formats::AdapterFile adapter;
    const std::uint64_t width = file_.weights.at(target_ + ".weight").shape[1],
                        out = file_.weights.at(target_ + ".weight").shape[0];
    const Codec& f32 = codec_named("F32");
    adapter.low_rank[target_] = {pack("a", f32, {1, width}, std::vector<float>(width, 0.3f)),
                                 pack("b", f32, {out, 1}, std::vector<float>(out, 0.2f)), 1};
    session->add_adapter("lora", adapter, adapter_scale_);
    return session;
  }
  api::GenerateResult ask(Session& session, std::vector<api::AdapterUse> adapters = {}) const {
    api::GenerateRequest request;
    request.prompt = prompt_;
    request.max_tokens = 30;
    request.sampling.temperature = 0;
    request.adapters = std::move(adapters);
    return session.generate(request);
  }
  std::uint64_t save(Session& session) const {
    return session.save_prefixes(path_, formats::fingerprint(file_), kNoLimit);
  }
  std::uint64_t load(Session& session) const { return session.load_prefixes(path_, formats::fingerprint(file_)); }
  std::string refusal(Session& session) const {
    try {
      load(session);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  Runtime runtime_{{.cpu = {.threads = 1}}};
  formats::ModelFile file_;
  std::string prompt_, target_ = "blk.0.attn_q";
  float adapter_scale_ = 1;
  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "p";
};

TEST_F(SessionPrefixesTest, TheNextSessionReadsOnlyWhatIsNew) {
  for (const auto codec : {kernels::KvCodec::kF32, kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
    const auto first = open({.kv_codec = codec}), second = open({.kv_codec = codec});
    const auto expected = ask(*first);
    const std::uint64_t tokens = save(*first);
    EXPECT_GE(tokens, expected.prompt_ids.size());
    EXPECT_EQ(load(*second), tokens);
    EXPECT_EQ(second->stats().restored_tokens, tokens);
    EXPECT_EQ(second->stats().kv_blocks_cached, tokens / kBlockTokens);
    const auto again = ask(*second);
    EXPECT_EQ(again.text, expected.text);
    EXPECT_EQ(again.cached_prompt_tokens, (again.prompt_ids.size() - 1) / kBlockTokens * kBlockTokens);
    EXPECT_LE(second->stats().prefill_tokens, kBlockTokens);
  }
}

// What an adapter is called says nothing of the blocks computed with it.
TEST_F(SessionPrefixesTest, AdaptersAreToldApartByWhatTheyHold) {
  const auto first = open();
  const auto plain = ask(*first), adapted = ask(*first, {"lora"});
  ASSERT_NE(plain.text, adapted.text);
  EXPECT_EQ(adapted.cached_prompt_tokens, 0u);
  save(*first);

  const auto same = open();
  load(*same);
  const auto again = ask(*same, {"lora"});
  EXPECT_GT(again.cached_prompt_tokens, 0u);
  EXPECT_EQ(again.text, adapted.text);

  adapter_scale_ = 0.5f;
  const auto other_scale = open();
  load(*other_scale);
  EXPECT_EQ(ask(*other_scale, {"lora"}).cached_prompt_tokens, 0u);
  EXPECT_GT(ask(*other_scale).cached_prompt_tokens, 0u);

  adapter_scale_ = 1;
  target_ = "blk.0.attn_k";
  const auto other_file = open();
  load(*other_file);
  EXPECT_EQ(ask(*other_file, {"lora"}).cached_prompt_tokens, 0u);
}

TEST_F(SessionPrefixesTest, OtherCircumstancesAreRefused) {
  const auto first = open();
  ask(*first);
  ASSERT_GT(save(*first), 0u);
  EXPECT_NE(refusal(*open({.kv_codec = kernels::KvCodec::kI8})).find("in f16, not in int8"), std::string::npos);
  Runtime scalar({.cpu = {.threads = 1, .kernel = "scalar"}});
  const auto other_kernels = scalar.open(scalar.load(file_), file_.tokenizer);
  EXPECT_NE(refusal(*other_kernels).find("computed by"), std::string::npos);
  EXPECT_THROW(open()->load_prefixes(path_, formats::fingerprint(file_) + 1), Error);
  EXPECT_EQ(refusal(*open({.context = 256})), "no error");  // RoPE as it is does not depend on it
  file_.architecture.rope_scaling = {
      .kind = arch::RopeScaling::Kind::kDynamicNtk, .factor = 2, .original_context = 512};
  EXPECT_NE(refusal(*open({.context = 700})).find("another model"), std::string::npos);
}

TEST_F(SessionPrefixesTest, ADynamicScalingHoldsForOneContext) {
  file_.architecture.rope_scaling = {
      .kind = arch::RopeScaling::Kind::kDynamicNtk, .factor = 2, .original_context = 512};
  const auto first = open({.context = 1000});
  ask(*first);
  ASSERT_GT(save(*first), 0u);
  EXPECT_EQ(refusal(*open({.context = 1000})), "no error");
  EXPECT_NE(refusal(*open({.context = 1100})).find("computed by"), std::string::npos);
}

TEST_F(SessionPrefixesTest, PoliciesAreSeparate) {
  const auto first = open({.kv_policy = "sinks:4+64"});
  ask(*first);
  save(*first);
  const auto full = open();
  load(*full);
  EXPECT_EQ(ask(*full).cached_prompt_tokens, 0u);
}

TEST_F(SessionPrefixesTest, WithoutAPrefixCacheThereIsNothingToKeep) {
  const auto off = open({.prefix_cache = false});
  ask(*off);
  EXPECT_EQ(save(*off), 0u);
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_EQ(load(*off), 0u);
}

}  // namespace
}  // namespace lathe::engine
