// Low-rank adapters chosen per sequence of a batch.
#include "model/adapter.h"

#include <gtest/gtest.h>

#include <random>

#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

// An adapter and the dense matrices it stands for.
struct MadeAdapter {
  model::Adapter adapter;
  NamedFloats delta;  // scale * B A, by weight name with ".weight"
};

PackedTensor matrix(std::uint64_t rows, std::uint64_t cols, std::span<const float> values) {
  return pack("adapter", codec_named("F32"), Shape{rows, cols}, values);
}

MadeAdapter make_adapter(const TinyModel& tiny, kernels::Backend& backend, std::span<const std::string> targets,
                         std::uint64_t rank, float scale, std::uint64_t seed) {
  MadeAdapter made;
  made.adapter.fingerprint = seed;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.2f);
  for (const std::string& target : targets) {
    const Shape& shape = tiny.weights.at(target + ".weight").shape;
    const std::uint64_t out = shape.rows(), in = shape.cols();
    std::vector<float> a(rank * in), b(out * rank);
    for (float& value : a) value = normal(random);
    for (float& value : b) value = normal(random);
    std::vector<float>& delta = made.delta[target + ".weight"];
    for (std::uint64_t o = 0; o < out; ++o) {
      for (std::uint64_t i = 0; i < in; ++i) {
        double sum = 0;
        for (std::uint64_t r = 0; r < rank; ++r) sum += double{b[o * rank + r]} * a[r * in + i];
        delta.push_back(static_cast<float>(scale * sum));
      }
    }
    Linear down, up;
    down.weight = matrix(rank, in, a), up.weight = matrix(out, rank, b);
    made.adapter.low_rank[target] = {backend.prepare(down), backend.prepare(up), scale};
  }
  return made;
}

TinyModel merged(const TinyModel& tiny, std::span<const MadeAdapter* const> adapters) {
  TinyModel result{tiny.architecture, {}, tiny.decoded};
  for (const MadeAdapter* made : adapters) {
    for (const auto& [name, delta] : made->delta) {
      for (std::size_t i = 0; i < delta.size(); ++i) result.decoded[name][i] += delta[i];
    }
  }
  for (const auto& [name, tensor] : tiny.weights.all()) {
    result.weights.add(pack(name, codec_named("F32"), tensor.shape, result.decoded[name]));
  }
  return result;
}

std::vector<double> doubles(std::span<const float> values) { return {values.begin(), values.end()}; }

constexpr double kTolerance = 2e-5;

const std::vector<std::string> kLlamaTargets = {"blk.0.attn_q",   "blk.0.attn_v", "blk.1.attn_k",  "blk.1.attn_output",
                                                "blk.0.ffn_gate", "blk.1.ffn_up", "blk.0.ffn_down"};

TEST(Adapter, EqualsMergedWeights) {
  arch::Architecture scaled = tiny_llama();
  scaled.residual_scale = 0.4f;  // the update joins the branch before it is scaled
  for (const arch::Architecture& a : {tiny_llama(), scaled}) {
    const TinyModel tiny = make_tiny_model(a);
    const auto backend = cpu(2);
    const MadeAdapter made = make_adapter(tiny, *backend, kLlamaTargets, 4, 0.5f, 1);
    const auto ids = random_ids(30, a.vocab_size, 2);
    const MadeAdapter* one[] = {&made};
    Executor expected(merged(tiny, one), backend);
    Executor executor(tiny, backend);
    const model::Adapter* list[] = {&made.adapter};
    const auto state = executor.sequence();
    const auto adapted = executor.logits(*state, ids, 64, list);
    EXPECT_LT(relative_error(adapted, doubles(expected.logits(ids))), kTolerance);
    EXPECT_GT(relative_error(adapted, doubles(executor.logits(ids))), 100 * kTolerance) << "the adapter does nothing";
    const auto again = executor.sequence();
    EXPECT_EQ(executor.logits(*again, ids, 7, list), adapted) << "depends on chunks";
  }
}

TEST(Adapter, ReachesAFusedProjection) {
  const TinyModel tiny = make_tiny_model(tiny_gpt2());
  const auto backend = cpu();
  const std::vector<std::string> targets = {"blk.0.attn_qkv", "blk.1.ffn_up"};
  const MadeAdapter made = make_adapter(tiny, *backend, targets, 1, 2, 3);
  const auto ids = random_ids(20, tiny.architecture.vocab_size, 2);
  const MadeAdapter* one[] = {&made};
  Executor expected(merged(tiny, one), backend);
  Executor executor(tiny, backend);
  const model::Adapter* list[] = {&made.adapter};
  const auto state = executor.sequence();
  EXPECT_LT(relative_error(executor.logits(*state, ids, 64, list), doubles(expected.logits(ids))), kTolerance);
}

// Sequences with no adapter, one, the other, and both in either order, in one batch: each as if it were alone.
TEST(Adapter, EachSequenceOfABatchHasItsOwn) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  const auto backend = cpu(2);
  const MadeAdapter x = make_adapter(tiny, *backend, kLlamaTargets, 4, 0.5f, 1);
  const MadeAdapter y = make_adapter(tiny, *backend, std::span(kLlamaTargets).first(4), 3, 1.5f, 2);
  const model::Adapter *only_x[] = {&x.adapter}, *only_y[] = {&y.adapter}, *xy[] = {&x.adapter, &y.adapter},
                       *yx[] = {&y.adapter, &x.adapter}, *twice[] = {&x.adapter, &x.adapter};
  const std::vector<std::span<const model::Adapter* const>> lists = {only_y, {}, xy, only_x, yx, {}, twice};

  Executor executor(tiny, backend);
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<std::vector<float>> alone;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    prompts.push_back(random_ids(5 + 3 * i, tiny.architecture.vocab_size, 10 + i));
    const auto state = executor.sequence();
    alone.push_back(executor.logits(*state, prompts[i], 64, lists[i]));
  }
  std::vector<std::unique_ptr<cache::PagedKv>> states;
  std::vector<model::Segment> segments;
  for (const auto& prompt : prompts) {
    states.push_back(executor.sequence());
    segments.push_back({prompt});
  }
  std::vector<model::SequenceInput> inputs;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    inputs.push_back({states[i].get(), {&segments[i], 1}, model::Want::kAll, lists[i]});
  }
  std::vector<std::vector<float>> together(lists.size());
  executor.forward().forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
    together[i].insert(together[i].end(), row.begin(), row.end());
  });
  for (std::size_t i = 0; i < lists.size(); ++i) EXPECT_EQ(together[i], alone[i]) << i;

  // No adapter: the very bytes of a model that never heard of any.
  Executor plain(tiny, backend);
  EXPECT_EQ(together[1], plain.logits(prompts[1]));
  EXPECT_EQ(together[5], plain.logits(prompts[5]));
  // Two adapters are the sum of both; the same one twice is twice as strong.
  const MadeAdapter *both[] = {&x, &y}, *double_x[] = {&x, &x};
  Executor sum(merged(tiny, both), backend), strong(merged(tiny, double_x), backend);
  EXPECT_LT(relative_error(together[2], doubles(sum.logits(prompts[2]))), kTolerance);
  EXPECT_LT(relative_error(together[4], doubles(sum.logits(prompts[4]))), kTolerance);
  EXPECT_LT(relative_error(together[6], doubles(strong.logits(prompts[6]))), kTolerance);
}

// Quantized weights stay as they are; the update is added beside them. Against the decoded weights with the update
// folded in, within what the codec's kernels lose by rounding activations.
TEST(Adapter, EqualsMergedWeightsOnEveryCodec) {
  constexpr double kEffect = 0.3;
  arch::Architecture a = tiny_llama();
  a.width = 256, a.ffn_width = 512;  // whole blocks of every codec
  a.head_dim = a.v_head_dim = a.rotary_dim = 64;
  std::size_t tested = 0;
  for (const Codec* codec : all_codecs()) {
    SCOPED_TRACE(codec->name());
    TinyModel tiny;
    try {
      tiny = make_tiny_model(a, codec->name(), 5);
    } catch (const Error&) {
      continue;  // nothing encodes it
    }
    ++tested;
    const double rounding = codec->name() == "W8A8" ? 0.08 : 0.05;  // which has one scale for a whole row of input
    const auto backend = cpu(2);
    const MadeAdapter x = make_adapter(tiny, *backend, kLlamaTargets, 4, 1, 1);
    const MadeAdapter y = make_adapter(tiny, *backend, std::span(kLlamaTargets).first(4), 3, 2, 2);
    const model::Adapter *only_x[] = {&x.adapter}, *both[] = {&x.adapter, &y.adapter};
    const MadeAdapter *merge_x[] = {&x}, *merge_both[] = {&x, &y};
    Executor executor(tiny, backend), expect_x(merged(tiny, merge_x), backend),
        expect_both(merged(tiny, merge_both), backend);
    const auto ids = random_ids(24, a.vocab_size, 2);
    const auto plain = executor.logits(ids);
    const auto state_x = executor.sequence(), state_both = executor.sequence();
    const auto with_x = executor.logits(*state_x, ids, 64, only_x);
    const auto with_both = executor.logits(*state_both, ids, 64, both);
    EXPECT_LT(relative_error(with_x, doubles(expect_x.logits(ids))), rounding);
    EXPECT_LT(relative_error(with_both, doubles(expect_both.logits(ids))), rounding);
    EXPECT_GT(relative_error(with_x, doubles(plain)), kEffect) << "the adapter does nothing";
    EXPECT_GT(relative_error(with_both, doubles(with_x)), kEffect) << "the second adapter does nothing";

    // Side by side in a batch, decoding, each row has its own and gets the bytes it gets alone.
    const std::vector<std::int32_t> next = {7};
    std::vector<std::vector<float>> alone;
    std::vector<std::unique_ptr<cache::PagedKv>> forks;
    const std::vector<std::pair<cache::PagedKv*, std::span<const model::Adapter* const>>> rows = {
        {state_x.get(), only_x}, {state_both.get(), both}};
    const model::Segment segment{next};
    std::vector<model::SequenceInput> inputs;
    for (const auto& [state, adapters] : rows) {
      const auto copy = state->fork();
      alone.push_back(executor.logits(*copy, next, 64, adapters));
      forks.push_back(state->fork());
      inputs.push_back({forks.back().get(), {&segment, 1}, model::Want::kLast, adapters});
    }
    std::vector<std::vector<float>> together(rows.size());
    executor.forward().forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
      together[i].assign(row.begin(), row.end());
    });
    EXPECT_EQ(together, alone);
  }
  EXPECT_GE(tested, 12u);
}

}  // namespace
}  // namespace lathe::test
