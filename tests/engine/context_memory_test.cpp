// The infllm policy behind a session: the model that ships with Lathe reads far more than it was trained on, and a
// row's result depends neither on its neighbours nor on the size of passes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "cache/context_memory.h"
#include "engine/session.h"
#include "model/forward.h"
#include "support/data.h"

namespace lathe::engine {
namespace {

constexpr const char* kPolicy = "infllm:32+128,block=32,blocks=4,step=64";

class ContextMemoryTest : public ::testing::Test {
 protected:
  ContextMemoryTest()
      : file_(formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf")), model_(runtime_.load(file_)) {}

  std::unique_ptr<Session> open(const std::string& policy, std::uint32_t chunk = 256, std::uint32_t context = 4096) {
    SessionOptions options;
    options.context = context;
    options.kv_policy = policy;
    options.chunk = chunk;
    return runtime_.open(model_, file_.tokenizer, options);
  }

  static api::GenerateRequest request(std::size_t sentences) {
    api::GenerateRequest request;
    for (std::size_t i = 0; i < sentences; ++i)
      request.prompt += i % 7 == 0 ? "Once upon a time. " : "She ran to the park. ";
    request.max_tokens = 40;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }

  Runtime runtime_{{.cpu = {.threads = 2}}};
  formats::ModelFile file_;
  std::shared_ptr<model::Model> model_;
};

TEST_F(ContextMemoryTest, NeighboursAndPassesDoNotChangeWhatIsSaid) {
  const std::vector<api::GenerateRequest> requests = {request(230), request(3), request(120), request(64)};
  std::vector<std::string> alone;
  for (const auto& one : requests) {
    alone.push_back(open(kPolicy)->generate(one).text);
    EXPECT_FALSE(alone.back().empty());
  }
  for (const std::uint32_t chunk : {64u, 100u, 512u}) {
    const auto results = open(kPolicy, chunk)->generate_all(requests);
    for (std::size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(results[i].text, alone[i]) << i << " in passes of " << chunk;
  }
}

// Requests of one session choose for themselves; what is in the batch beside them changes nothing.
class ChosenPoliciesTest : public ContextMemoryTest {
 protected:
  static api::GenerateRequest with(const std::string& policy, std::size_t sentences) {
    api::GenerateRequest asked = request(sentences);
    asked.kv_policy = policy;
    return asked;
  }
  const std::vector<api::GenerateRequest> mixed_ = {
      with(kPolicy, 130),      with("", 90),
      with("sinks:4+96", 110), with("full", 90),
      with(kPolicy, 90),       with("sinks:0+200", 100),
      with("sinks:4+96", 3),   with("infllm:0+200,block=64,blocks=2,repr=2,step=32", 100)};

  std::unique_ptr<Session> session(const std::string& own, SessionOptions options = {}) {
    options.context = 4096;
    options.kv_policy = own;
    return runtime_.open(model_, file_.tokenizer, options);
  }
  std::string alone(const api::GenerateRequest& request) {
    api::GenerateRequest plain = request;
    plain.kv_policy.clear();
    return session(request.kv_policy.empty() ? "full" : request.kv_policy)->generate(plain).text;
  }
};

TEST_F(ChosenPoliciesTest, EachGetsTheBytesItWouldGetAlone) {
  std::vector<std::string> expected;
  for (const auto& one : mixed_) expected.push_back(alone(one));
  EXPECT_NE(expected[0], expected[3]);
  EXPECT_NE(expected[1], expected[5]);
  for (const std::uint32_t chunk : {80u, 256u}) {
    const auto open = session("full", {.max_batch = 8, .chunk = chunk});
    for (const bool again : {false, true}) {  // the second time from the prefix cache, where there is one
      const auto results = open->generate_all(mixed_);
      for (std::size_t i = 0; i < mixed_.size(); ++i) {
        EXPECT_EQ(results[i].text, expected[i]) << i << " in passes of " << chunk;
        const bool shares = open->shares_prefixes(mixed_[i].kv_policy);
        // "" and "full" are the same, and the fourth request's prompt is the second's.
        if (!shares || (!again && i != 3)) {
          EXPECT_EQ(results[i].cached_prompt_tokens, 0u) << i;
        }
        if (shares && again && mixed_[i].kv_policy != "sinks:4+96" && i != 5) {
          EXPECT_GT(results[i].cached_prompt_tokens, 0u) << i;
        }
      }
      EXPECT_EQ(open->stats().kv_blocks_in_use, open->stats().kv_blocks_cached);
    }
    std::uint64_t unshared = 0;
    for (const auto& one : mixed_)
      unshared += open->shares_prefixes(one.kv_policy) ? 0 : 2 * file_.tokenizer->encode(one.prompt).size();
    EXPECT_EQ(open->stats().unshared_prompt_tokens, unshared);
  }
  const auto remembers = session(kPolicy);  // the other way round: the session's own is the memory
  EXPECT_EQ(remembers->generate(with("full", 90)).text, expected[3]);
  EXPECT_GT(remembers->generate(with("full", 90)).cached_prompt_tokens, 0u);
  EXPECT_EQ(remembers->generate(request(130)).text, expected[0]);
}

// Too few blocks for all of them: some are set back and read again, in the passes of the first time.
TEST_F(ChosenPoliciesTest, SetBackAndReadAgainTheSameIsSaid) {
  const kernels::KvLayout layout{kernels::KvCodec::kF16, file_.architecture.n_kv_heads, file_.architecture.head_dim,
                                 file_.architecture.v_head_dim, 32};
  const std::uint64_t block = runtime_.backend().kv_block_bytes(layout) * file_.architecture.n_layers;
  std::vector<api::GenerateRequest> asked = {with("full", 90), with(kPolicy, 90), with("sinks:4+96", 100),
                                             with(kPolicy, 100)};
  std::vector<std::string> expected;
  for (api::GenerateRequest& one : asked) {
    one.max_tokens = 200;
    expected.push_back(alone(one));
  }
  std::uint64_t preemptions = 0;
  for (const std::uint64_t blocks : {50, 60, 70, 80, 90, 100}) {
    const auto tight = session("full", {.max_batch = 4, .kv_bytes = blocks * block});
    const auto results = tight->generate_all(asked);
    for (std::size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(results[i].text, expected[i]) << i << " of " << blocks;
    EXPECT_EQ(tight->stats().kv_blocks_in_use, tight->stats().kv_blocks_cached);
    preemptions += tight->stats().preemptions;
  }
  EXPECT_GT(preemptions, 0u);
}

TEST_F(ChosenPoliciesTest, WhatCannotWorkIsRefusedBeforeItRuns) {
  const auto refuses = [&](Session& open, const std::string& policy, const std::string& what) {
    try {
      open.generate(with(policy, 3));
      ADD_FAILURE() << policy << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
    EXPECT_THROW(open.shares_prefixes(policy), Error);
    EXPECT_EQ(open.outstanding(), 0u);
  };
  const auto open = session("full", {.max_batch = 16, .chunk = 100});
  refuses(*open, "most", "not known");
  refuses(*open, "infllm", "steps of 128 do not fit: passes of 100 rows leave 84");
  refuses(*open, "infllm:128+4096,step=32", "longer than the 2048 positions");
  refuses(*open, "infllm:33+128,block=32,step=64", "does not divide");
  EXPECT_FALSE(open->generate(with("infllm:32+128,block=32,step=64", 3)).text.empty());
  EXPECT_THROW(open->beam_search(with(kPolicy, 3), {}), UsageError);
  const auto guesses = session("full", {.draft = {.kind = DraftKind::kNgram}});
  refuses(*guesses, kPolicy, "guesses");
}

// Blocks that leave memory come back as they were.
TEST_F(ContextMemoryTest, OnADiskTheSameIsSaid) {
  const auto folder = std::filesystem::path(::testing::TempDir());
  const api::GenerateRequest asked = request(230);
  const std::string expected = open(kPolicy)->generate(asked).text;
  SessionOptions options;
  options.context = 4096;
  options.kv_folder = folder;
  for (const char* settings : {"", ",cached=0"}) {
    options.kv_policy = std::string(kPolicy) + settings;
    EXPECT_EQ(runtime_.open(model_, file_.tokenizer, options)->generate(asked).text, expected) << settings;
  }
  options.kv_policy = "full";
  EXPECT_EQ(runtime_.open(model_, file_.tokenizer, options)->generate(asked).text, open("full")->generate(asked).text);
  options.kv_folder = folder / "absent";
  const auto nowhere = runtime_.open(model_, file_.tokenizer, options);
  EXPECT_THROW(nowhere->generate(asked), Error);
}

TEST_F(ContextMemoryTest, ReadsManyTimesTheTrainedContext) {
  const api::GenerateResult result = open(kPolicy, 256, 16384)->generate(request(900));
  EXPECT_GT(result.prompt_ids.size(), 3 * file_.architecture.context_length);
  EXPECT_EQ(result.tokens.size(), 40u);
  // The text is still words, though every token stands far beyond the trained positions.
  std::size_t known = 0;
  for (const char* word : {"the", "and", "was", "to", "a "})
    known += result.text.find(word) != std::string::npos ? 1 : 0;
  EXPECT_GE(known, 2u) << result.text;
}

TEST_F(ContextMemoryTest, BlocksAreGivenBack) {
  const auto session = open(kPolicy);
  session->generate(request(150));
  EXPECT_EQ(session->stats().kv_blocks_in_use, 0u);
}

// A sequence that notes, whenever a layer chooses for a single token, how much of the attention to all blocks those it
// chose receive: the mean over heads of the share of the sum of exp(q.k).
class Watched final : public model::SequenceState {
 public:
  Watched(cache::BlockPool& pool, const std::string& policy, float scale)
      : pool_(pool), kv_(pool, cache::kv_policy_named(policy)), scale_(scale) {}

  double share() const { return share_ / std::max(1, looks_); }

  std::int64_t length() const override { return kv_.length(); }
  const kernels::KvLayout& layout() const override { return kv_.layout(); }
  void reserve(kernels::Stream& stream, std::uint64_t count) override { kv_.reserve(stream, count); }
  void append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k, kernels::DeviceTensor v) override {
    kv_.append(stream, layer, k, v);
  }
  std::span<const kernels::KvRun> segments(std::uint32_t layer, std::uint64_t count) override {
    return kv_.segments(layer, count);
  }
  Mass mass(std::uint32_t layer) override { return kv_.mass(layer); }
  std::int64_t far_distance() const override { return kv_.far_distance(); }
  void append_raw(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                  kernels::DeviceTensor v) override {
    kv_.append_raw(stream, layer, k, v);
  }
  void commit(std::uint64_t count) override { kv_.commit(count); }
  void choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) override {
    kv_.choose(stream, layer, far_q);
    if (far_q.rows == 1) look(stream, layer, far_q);
  }

 private:
  void look(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) {
    const cache::ContextMemory& memory = *kv_.memory();
    const kernels::KvLayout& kv = kv_.layout();
    const std::uint64_t tokens = memory.size() * memory.options().block, width = kv.n_kv_heads * kv.k_dim;
    const kernels::DeviceBuffer buffer = pool_.backend().allocate(tokens * width * sizeof(float));
    pool_.backend().kv_keys(stream, kv, memory.tokens().addresses(layer), memory.first_token(0),
                            kernels::DeviceTensor::dense(buffer.data(), tokens, width));
    std::vector<float> keys(tokens * width), q(far_q.cols);
    pool_.backend().download(stream, keys.data(), buffer.data(), keys.size() * sizeof(float));
    pool_.backend().download(stream, q.data(), far_q.data, q.size() * sizeof(float));
    const std::uint64_t heads = far_q.cols / kv.k_dim, group = heads / kv.n_kv_heads;
    for (std::uint64_t head = 0; head < heads; ++head) {
      std::vector<double> of_block(memory.size());
      for (std::uint64_t token = 0; token < tokens; ++token) {
        double score = 0;
        for (std::uint64_t i = 0; i < kv.k_dim; ++i)
          score += double{q[head * kv.k_dim + i]} * keys[token * width + head / group * kv.k_dim + i];
        of_block[token / memory.options().block] += std::exp(scale_ * score);
      }
      double shown = 0, all = 0;
      for (const std::uint32_t block : memory.chosen(layer)) shown += of_block[block];
      for (const double mass : of_block) all += mass;
      share_ += shown / all / static_cast<double>(heads);
    }
    ++looks_;
  }

  cache::BlockPool& pool_;
  cache::PagedKv kv_;
  float scale_;
  double share_ = 0;
  int looks_ = 0;
};

// Card 100's check (d) on a model that was trained: 8 of 112 blocks, chosen by their representatives, hold more of the
// attention than the last 8, and those or any 8 hold about their number's share.
TEST_F(ContextMemoryTest, ChosenBlocksHoldMoreOfTheAttentionThanOthers) {
  std::string text = read_file(test::source_dir() / "models/calibration/shakespeare.txt", 1 << 20);
  std::vector<text::TokenId> ids = file_.tokenizer->encode(text.substr(0, 16000));
  ASSERT_GT(ids.size(), 3900u);
  ids.resize(3900);
  const auto share_of = [&](const std::string& choice) {
    const arch::Architecture& a = file_.architecture;
    const kernels::KvLayout layout{kernels::KvCodec::kF32, a.n_kv_heads, a.head_dim, a.v_head_dim, 32};
    cache::BlockPool pool(model_->shared_backend(), layout, a.n_layers, std::uint64_t{256} << 20);
    model::ForwardContext forward(model_, 64, 4096);
    Watched state(pool, "infllm:32+256,block=32,blocks=8,step=64,choice=" + choice, 1 / std::sqrt(float(a.head_dim)));
    const std::size_t alone = 3840;  // from here on token by token
    for (std::size_t begin = 0; begin < ids.size();) {
      const std::size_t count = begin < alone ? std::min<std::size_t>(64, alone - begin) : 1;
      const model::Segment segment{std::span(ids).subspan(begin, count)};
      const model::SequenceInput input{&state, {&segment, 1}, model::Want::kNothing};
      forward.forward({&input, 1}, {}, [](std::size_t, std::uint64_t, std::span<const float>) {});
      begin += count;
    }
    return state.share();
  };
  const double best = share_of("best"), latest = share_of("latest"), random = share_of("random");
  std::printf("share of the attention to 112 blocks: best 8 %.3f, latest %.3f, random %.3f\n", best, latest, random);
  EXPECT_GT(best, 1.2 * latest);
  EXPECT_GT(best, 1.2 * random);
}

TEST_F(ContextMemoryTest, WhatCannotWorkIsRefused) {
  const auto refuses = [&](const std::string& policy, const std::string& what, DraftOptions draft = {}) {
    SessionOptions options;
    options.kv_policy = policy;
    options.draft = std::move(draft);
    try {
      runtime_.open(model_, file_.tokenizer, options);
      ADD_FAILURE() << policy << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  refuses("infllm:128+4096", "longer than the 2048 positions");
  refuses(kPolicy, "guesses", {.kind = DraftKind::kNgram});
  refuses("infllm:33+128,block=32,step=64", "does not divide");
}

}  // namespace
}  // namespace lathe::engine
