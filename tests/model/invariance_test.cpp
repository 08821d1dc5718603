// The determinism contract: the logits of a row are the same bytes whatever its batch neighbours, however the prompt
// was cut into passes, however many threads there are, and whether its past was computed or found in the cache. For
// every codec and kernel that there is, and every KV codec.
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

#include "cache/prefix_tree.h"
#include "reference/packings.h"

namespace lathe::test {
namespace {

constexpr std::uint32_t kBlockTokens = 16;
constexpr std::size_t kPrompt = 75;  // four whole blocks and a part

arch::Architecture shape() {
  arch::Architecture a = tiny_llama();
  a.n_layers = 1;
  a.width = 256, a.ffn_width = 512;  // whole blocks of every codec
  a.n_heads = 4, a.n_kv_heads = 2;
  a.head_dim = a.v_head_dim = a.rotary_dim = 64;
  a.vocab_size = 160;
  a.tied_embeddings = true;
  return a;
}

struct Case {
  Packing weights;
  std::string kernel = "auto";
  kernels::KvCodec kv = kernels::KvCodec::kF32;

  std::string name() const {
    std::string name = weights.name() + "_" + std::string(kv_codec_name(kv));
    for (const char c : kernel == "auto" ? "" : kernel.substr(4)) name += c == '-' || c == '+' ? '_' : c;
    return name;
  }
};

// The kernel that multiplies weights packed like this.
std::string kernel_of(const Packing& weights, const std::string& kernel) {
  const std::vector<float> values(std::size_t{64} * 256, 1.0f);
  const auto backend = cpu(1, kernel);
  Linear linear;
  linear.weight = pack("w", *weights.codec, Shape{64, 256}, values, weights.params);
  return std::string(backend->prepare(linear)->kernel());
}

// Each kernel under each codec that it multiplies, at the codec's narrowest and its usual width.
std::vector<Case> kernels_of_codecs() {
  std::vector<Packing> plain;
  for (const Packing& packing : packings()) {
    const bool first = plain.empty() || plain.back().codec != packing.codec;
    if (first || packing.params.bits == packing.codec->usual_params().bits) plain.push_back(packing);
  }
  std::vector<Packing> all = plain;
  for (const int bits : {4, 8}) {
    const std::vector<Packing> more = with_activation_bits(plain, bits);
    all.insert(all.end(), more.begin(), more.end());
  }
  std::vector<Case> cases;
  for (const Packing& packing : all) {
    std::set<std::string> seen;
    for (const char* kernel : {"auto", "auto+dot", "auto+lut", "auto+lut-fast"}) {
      if (seen.insert(kernel_of(packing, kernel)).second) cases.push_back({packing, kernel});
    }
  }
  return cases;
}

// The other ways to store keys and values, under weights of floats and of integers.
std::vector<Case> kv_codecs() {
  std::vector<Case> cases;
  for (const char* codec : {"F32", "Q8_0"}) {
    for (const kernels::KvCodec kv : {kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
      cases.push_back({{&codec_named(codec), {}}, "auto", kv});
    }
  }
  return cases;
}

class Invariance : public testing::TestWithParam<Case> {
 protected:
  static ExecutorOptions options() {
    return {.kv = GetParam().kv, .max_rows = 256, .context = 256, .block_tokens = kBlockTokens};
  }
  static std::shared_ptr<kernels::Backend> backend(int threads) { return cpu(threads, GetParam().kernel); }
  // Rows [from, ...) of the reference against `rows`, byte for byte.
  void expect_same(std::span<const float> rows, std::size_t from, const std::string& what) const {
    ASSERT_LE(from * vocab_ + rows.size(), whole_.size()) << what;
    EXPECT_EQ(std::memcmp(rows.data(), whole_.data() + from * vocab_, rows.size_bytes()), 0) << what;
  }
  void SetUp() override {
    Executor executor(tiny_, backend(1), options());
    whole_ = executor.logits(ids_, kPrompt);
    ASSERT_EQ(whole_.size(), kPrompt * vocab_);
  }

  TinyModel tiny_ = packed(make_tiny_model(shape(), "F32", 17), GetParam().weights);
  std::size_t vocab_ = shape().vocab_size;
  std::vector<std::int32_t> ids_ = random_ids(kPrompt, shape().vocab_size, 4);
  std::vector<float> whole_;  // one pass, one thread, alone
};

TEST_P(Invariance, Chunks) {
  Executor executor(tiny_, backend(1), options());
  for (const std::size_t chunk : {1, 3, 7, 64}) {
    expect_same(executor.logits(ids_, chunk), 0, "chunks of " + std::to_string(chunk));
  }
}

TEST_P(Invariance, Threads) {
  for (const int threads : {2, 4}) {
    Executor executor(tiny_, backend(threads), options());
    expect_same(executor.logits(ids_, kPrompt), 0, std::to_string(threads) + " threads");
    expect_same(executor.logits(ids_, 7), 0, std::to_string(threads) + " threads, chunks of 7");
  }
}

// Other sequences of other lengths before and after it, some decoding, some reading a prompt.
TEST_P(Invariance, Neighbours) {
  Executor executor(tiny_, backend(2), options());
  for (const std::size_t neighbours : {1, 2, 5}) {
    std::vector<std::unique_ptr<cache::PagedKv>> states;
    std::vector<std::vector<std::int32_t>> prompts;
    for (std::size_t i = 0; i <= neighbours; ++i) {
      prompts.push_back(i == neighbours / 2 ? ids_ : random_ids(1 + i * 13, shape().vocab_size, 100 + i));
      states.push_back(executor.sequence());
      if (i % 2 == 1 && i != neighbours / 2) {
        executor.logits(*states.back(), random_ids(20, shape().vocab_size, i));  // has a past already
      }
    }
    std::vector<model::Segment> segments;
    for (const auto& prompt : prompts) segments.push_back({prompt});
    std::vector<model::SequenceInput> inputs;
    for (std::size_t i = 0; i <= neighbours; ++i) {
      inputs.push_back({states[i].get(), {&segments[i], 1}, i % 2 == 0 ? model::Want::kAll : model::Want::kLast});
    }
    inputs[neighbours / 2].want = model::Want::kAll;
    std::vector<float> own;
    executor.forward().forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
      if (i == neighbours / 2) own.insert(own.end(), row.begin(), row.end());
    });
    ASSERT_EQ(own.size(), whole_.size());
    expect_same(own, 0, std::to_string(neighbours) + " neighbours");
  }
}

TEST_P(Invariance, PrefixHitsAndForks) {
  Executor executor(tiny_, backend(1), options());
  const auto first = executor.sequence();
  executor.logits(*first, ids_, 10);
  cache::PrefixTree tree(executor.pool());
  const std::vector<std::uint64_t> content(ids_.begin(), ids_.end());
  tree.insert("", content, first->blocks());
  const auto hit = executor.sequence(tree.lookup("", content));
  ASSERT_EQ(hit->length(), kPrompt / kBlockTokens * kBlockTokens);
  expect_same(executor.logits(*hit, std::span(ids_).subspan(hit->length())), hit->length(), "a prefix hit");

  // Forks in the middle of a block: the fork goes another way first, and neither disturbs the other.
  const auto base = executor.sequence();
  executor.logits(*base, std::span(ids_).first(37));
  const auto fork = base->fork();
  const auto stray = fork->fork();
  executor.logits(*stray, random_ids(30, shape().vocab_size, 9));
  expect_same(executor.logits(*fork, std::span(ids_).subspan(37)), 37, "a fork");
  expect_same(executor.logits(*base, std::span(ids_).subspan(37), 5), 37, "what it was forked from");

  // Going back and on again.
  fork->truncate(21);
  expect_same(executor.logits(*fork, std::span(ids_).subspan(21)), 21, "after truncation");
}

const auto name_of = [](const auto& info) { return info.param.name(); };
INSTANTIATE_TEST_SUITE_P(Kernels, Invariance, testing::ValuesIn(kernels_of_codecs()), name_of);
INSTANTIATE_TEST_SUITE_P(KvCodecs, Invariance, testing::ValuesIn(kv_codecs()), name_of);

// The same with the features that bring more operations: biases, caps, windows, adapters are in adapter_test.cpp.
TEST(InvarianceOfFeatures, Gpt2WindowsAndCaps) {
  arch::Architecture windowed = tiny_llama();
  windowed.window = 9, windowed.attention_softcap = 2, windowed.qk_norm = true, windowed.residual_scale = 0.4f;
  arch::Architecture odd = tiny_llama();
  odd.width = 172, odd.ffn_width = 99, odd.head_dim = 43, odd.v_head_dim = 21, odd.rotary_dim = 42;
  arch::Architecture alibi = tiny_llama();
  alibi.position = arch::PositionKind::kAlibi;
  for (const arch::Architecture& a : {tiny_gpt2(), windowed, odd, alibi}) {
    const TinyModel tiny = make_tiny_model(a);
    const auto ids = random_ids(75, a.vocab_size, 4);
    Executor alone(tiny, cpu(1));
    const auto whole = alone.logits(ids, 75);
    Executor threaded(tiny, cpu(4), {.block_tokens = 32});
    for (const std::size_t chunk : {1, 3, 7, 64, 75}) {
      EXPECT_EQ(alone.logits(ids, chunk), whole) << chunk;
      EXPECT_EQ(threaded.logits(ids, chunk), whole) << chunk;
    }
  }
}

// A policy that forgets: which slots a pass lists depends on where it starts, what a row sees does not.
TEST(InvarianceOfPolicies, SinksAndWindow) {
  const TinyModel tiny = make_tiny_model(tiny_llama(), "Q8_0");
  const auto ids = random_ids(230, tiny.architecture.vocab_size, 4);
  for (const char* policy : {"sinks:4+20", "sinks:0+33", "sinks:5+1", "sinks:40+8"}) {
    const ExecutorOptions options{.max_rows = 256, .policy = policy};
    Executor one(tiny, cpu(1), options), three(tiny, cpu(3), options);
    const auto whole = one.logits(ids, ids.size());
    for (const std::size_t chunk : {1, 3, 7, 64}) {
      EXPECT_EQ(one.logits(ids, chunk), whole) << policy << ", chunks of " << chunk;
      EXPECT_EQ(three.logits(ids, chunk), whole) << policy << ", chunks of " << chunk;
    }
    Executor full(tiny, cpu(1), {.max_rows = 256});
    EXPECT_NE(full.logits(ids, ids.size()), whole) << policy << " sees everything";
  }
}

// Values from one instruction set to the next may differ in the last digits, but each is invariant in itself.
TEST(InvarianceOfKernels, ScalarKernels) {
  const TinyModel tiny = make_tiny_model(tiny_llama(), "Q8_0");
  const auto ids = random_ids(40, tiny.architecture.vocab_size, 4);
  Executor one(tiny, cpu(1, "scalar"));
  Executor three(tiny, cpu(3, "scalar"));
  const auto whole = one.logits(ids, 40);
  EXPECT_EQ(one.logits(ids, 1), whole);
  EXPECT_EQ(three.logits(ids, 7), whole);
}

}  // namespace
}  // namespace lathe::test
