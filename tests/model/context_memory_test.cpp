// InfLLM: a window and a memory of blocks (Xiao et al. 2024), against full attention, against an fp64 forward pass with
// the same distances, and on a model that has to find pass keys far outside of its window.
#include "cache/context_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "reference/fake_backend.h"
#include "reference/induction_model.h"

namespace lathe::test {
namespace {

std::vector<float> logits(const TinyModel& tiny, std::string policy, std::span<const std::int32_t> ids,
                          std::size_t chunk, const std::string& kernel = "auto") {
  ExecutorOptions options;
  options.context = 4096;
  options.policy = std::move(policy);
  return Executor(tiny, cpu(2, kernel), options).logits(ids, chunk);
}

TEST(ContextMemory, EqualsFullAttentionWhileTheWindowHoldsEverything) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  const std::vector<std::int32_t> ids = random_ids(120, 96, 3);
  EXPECT_EQ(logits(tiny, "full", ids, 32), logits(tiny, "infllm:16+128,block=16,step=32", ids, 32));
}

// Every block shown: what is left of the method is that distant tokens count as one window away.
TEST(ContextMemory, WithEverythingShownItIsAttentionAtHeldDistances) {
  for (const char* variant : {"llama", "pairs", "norms", "part"}) {
    arch::Architecture a = tiny_llama();
    if (std::string_view(variant) == "pairs") a.rope_layout = RopeLayout::kInterleaved;
    if (std::string_view(variant) == "norms") a.qk_norm = true;
    if (std::string_view(variant) == "part") a.rotary_dim = 8;
    const TinyModel tiny = make_tiny_model(a);
    const std::vector<std::int32_t> ids = random_ids(310, 96, 4);
    const ReferenceResult held = reference_forward(a, tiny.decoded, ids, 4096, 0, 40);
    const ReferenceResult plain = reference_forward(a, tiny.decoded, ids, 4096);
    for (const std::size_t chunk : {1, 7, 32}) {
      for (const char* kernel : {"auto", "scalar"}) {
        if (chunk == 7 && std::string_view(kernel) == "scalar") continue;
        const std::vector<float> got = logits(tiny, "infllm:16+40,block=16,blocks=1000,step=32", ids, chunk, kernel);
        EXPECT_LT(relative_error(got, held.logits), 2e-5) << variant << ", passes of " << chunk << ", " << kernel;
        EXPECT_GT(relative_error(got, plain.logits), 1e-3) << variant;
      }
    }
  }
}

TEST(ContextMemory, StaysBehindTheBackend) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  const std::vector<std::int32_t> ids = random_ids(200, 96, 5);
  ExecutorOptions options;
  options.policy = "infllm:16+40,block=16,blocks=2,step=32";
  const std::vector<float> real = Executor(tiny, cpu(2), options).logits(ids, 32);
  EXPECT_EQ(real, Executor(tiny, std::make_shared<FakeBackend>(cpu(2)), options).logits(ids, 32));
}

TEST(ContextMemory, TheWindowsBlocksAreFreed) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  ExecutorOptions options;
  options.policy = "infllm:16+64,block=16,blocks=2,step=32";
  options.context = 2048;
  Executor executor(tiny, cpu(2), options);
  const auto state = executor.sequence();
  executor.logits(*state, random_ids(640, 96, 6), 32);
  // 640 tokens in the memory, and a window of 64 that may touch one block more, in blocks of 16.
  EXPECT_LE(executor.pool().used_blocks(), 640u / 16 + 64 / 16 + 2);
  // All but the last 64 tokens are in blocks, 16 first ones aside.
  EXPECT_EQ(state->memory()->size(), (640u - 64 - 16) / 16);
  EXPECT_EQ(state->memory()->chosen(0).size(), 2u);
}

TEST(ContextMemory, ModelsWithOtherPositionsAreRefused) {
  const std::vector<std::int32_t> ids = random_ids(20, 96, 7);
  const auto refusal = [&](const arch::Architecture& a) -> std::string {
    try {
      logits(make_tiny_model(a), "infllm:16+40,block=16,step=32", ids, 20);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  arch::Architecture windows = tiny_llama(), slopes = tiny_llama(), both_ways = tiny_llama();
  windows.window = 16;
  slopes.position = arch::PositionKind::kAlibi;
  both_ways.causal = false;
  arch::Architecture learned = tiny_gpt2();
  learned.context_length = 4096;
  for (const arch::Architecture& a : {windows, slopes, both_ways, learned})
    EXPECT_NE(refusal(a).find("RoPE"), std::string::npos) << a.family << ": " << refusal(a);
  EXPECT_EQ(refusal(tiny_llama()), "");
}

TEST(ContextMemory, MoreThanAStepInAPassIsRefused) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  EXPECT_THROW(logits(tiny, "infllm:16+40,block=16,step=32", random_ids(40, 96, 7), 40), Error);
  EXPECT_THROW(logits(tiny, "infllm:8+40,block=16,step=32", random_ids(40, 96, 7), 8), UsageError);
}

// --- finding ---

struct Found {
  int right = 0, asked = 0;
  double share() const { return static_cast<double>(right) / asked; }
};

// Pass keys at several depths; a key counts when the whole value came out.
Found search(const TinyModel& tiny, const std::string& policy, std::size_t length, std::size_t step, int texts) {
  ExecutorOptions options;
  options.policy = policy;
  options.context = static_cast<std::uint32_t>(length + 16);
  options.block_tokens = 32;
  options.kv = kernels::KvCodec::kF16;
  options.kv_bytes = std::uint64_t{512} << 20;
  Executor executor(tiny, cpu(2), options);
  Found found;
  const auto read = [&](cache::PagedKv& state, std::span<const std::int32_t> ids, model::Want want) {
    std::vector<float> last;
    const model::Segment segment{ids};
    const model::SequenceInput input{&state, {&segment, 1}, want};
    executor.forward().forward({&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      last.assign(row.begin(), row.end());
    });
    return last;
  };
  for (int i = 0; i < texts; ++i) {
    const PasskeyText text =
        make_passkey_text(length, 96, (i + 0.5) / texts, tiny.architecture.vocab_size, 100 + static_cast<unsigned>(i));
    const auto state = executor.sequence();
    std::span<const std::int32_t> ids(text.ids);
    // The question is a pass of its own.
    for (auto rest = ids.first(ids.size() - 1); !rest.empty(); rest = rest.subspan(std::min(step, rest.size())))
      read(*state, rest.first(std::min(step, rest.size())), model::Want::kNothing);
    std::int32_t last = ids.back();
    std::vector<std::int32_t> said;
    for (std::size_t n = 0; n < text.answer.size(); ++n) {
      const std::vector<float> row = read(*state, std::span(&last, 1), model::Want::kLast);
      last = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
      said.push_back(last);
    }
    found.right += said == text.answer ? 1 : 0;
    ++found.asked;
  }
  return found;
}

TEST(Passkey, TheModelCopiesInsideItsWindow) {
  EXPECT_EQ(search(make_induction_model(), "full", 240, 64, 8).share(), 1);
}

// 16 windows of text and 96 other keys; of 60 blocks 8 are shown. What shows as many tokens without looking finds only
// what happens to be there: one of the five texts has its key near the end.
TEST(Passkey, TheMemoryFindsWhatHasLeftTheWindow) {
  const TinyModel tiny = make_induction_model();
  const std::string sizes = "infllm:32+256,block=64,step=64,blocks=8,repr=8";
  EXPECT_EQ(search(tiny, sizes, 4096, 64, 5).share(), 1);
  EXPECT_LE(search(tiny, sizes + ",choice=random", 4096, 64, 5).share(), 0.2);
  EXPECT_LE(search(tiny, sizes + ",choice=latest", 4096, 64, 5).share(), 0.2);
  EXPECT_LE(search(tiny, "sinks:32+768", 4096, 64, 5).share(), 0.2);
}

}  // namespace
}  // namespace lathe::test
