// Hooks and partial passes: looking into the inputs of linear layers, changing them, leaving early, timing, and running
// a range of layers from given hidden states.
#include "model/hooks.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

class TestHooks final : public model::ForwardHooks {
 public:
  std::function<void(const arch::Op&, kernels::DeviceTensor, kernels::Backend&, kernels::Stream&)> linear_input;
  std::function<bool(int, kernels::DeviceTensor, kernels::Backend&, kernels::Stream&)> layer_output;
  std::function<void(const arch::Op&, double)> op_time;

  void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override {
    if (linear_input) linear_input(op, x, backend, stream);
  }
  bool on_layer_output(int layer, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override {
    return !layer_output || layer_output(layer, x, backend, stream);
  }
  bool wants_op_time() const override { return op_time != nullptr; }
  void on_op_time(const arch::Op& op, double seconds) override { op_time(op, seconds); }
};

std::vector<float> download(kernels::DeviceTensor x, kernels::Backend& backend, kernels::Stream& stream) {
  std::vector<float> values(x.rows * x.cols);
  for (std::uint64_t r = 0; r < x.rows; ++r) {
    backend.download(stream, values.data() + r * x.cols, x.slice_rows(r, 1).data, x.cols * sizeof(float));
  }
  return values;
}

class Hooks : public testing::Test {
 protected:
  // Runs `segment` through `state` and returns what the sink got for every row.
  std::vector<float> run(cache::PagedKv& state, const model::Segment& segment, const model::ForwardOptions& options) {
    const model::SequenceInput input{&state, {&segment, 1}, model::Want::kAll};
    std::vector<float> all;
    executor_.forward().forward({&input, 1}, options, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      all.insert(all.end(), row.begin(), row.end());
    });
    return all;
  }
  std::vector<float> run(const model::Segment& segment, const model::ForwardOptions& options) {
    const auto state = executor_.sequence();
    return run(*state, segment, options);
  }

  static arch::Architecture shape() {
    arch::Architecture a = tiny_llama();
    a.n_layers = 4;
    return a;
  }
  TinyModel tiny_ = make_tiny_model(shape());
  Executor executor_{tiny_, cpu()};
  std::vector<std::int32_t> ids_ = random_ids(40, shape().vocab_size, 8);
  model::Segment prompt_{ids_};
};

TEST_F(Hooks, SeeEveryGroupOfLinearLayersOnce) {
  std::map<std::string, std::uint64_t> seen;  // weight: columns of its input
  std::vector<float> final_input;
  TestHooks hooks;
  hooks.linear_input = [&](const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                           kernels::Stream& stream) {
    for (const arch::LinearUse& use : op.linears) {
      EXPECT_TRUE(seen.emplace(use.weight, x.cols).second || use.weight == "output") << use.weight;
    }
    if (op.linears[0].weight == "output") {
      const auto tile = download(x, backend, stream);
      final_input.insert(final_input.end(), tile.begin(), tile.end());
    } else {
      EXPECT_EQ(x.rows, ids_.size());
    }
  };
  const auto logits = run(prompt_, {.hooks = &hooks});
  EXPECT_EQ(seen.size(), 4u * 7 + 1);
  for (const auto& [weight, columns] : seen) EXPECT_EQ(columns, tiny_.weights.at(weight + ".weight").shape.cols());
  // Watching changes nothing, and what the head read is the hidden state.
  EXPECT_EQ(logits, run(prompt_, {}));
  EXPECT_EQ(final_input, run(prompt_, {.hidden_only = true}));
}

TEST_F(Hooks, MayOverwriteWhatALinearLayerReads) {
  TestHooks hooks;
  hooks.linear_input = [&](const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                           kernels::Stream& stream) {
    if (op.linears[0].weight == "blk.2.ffn_down") backend.scale(stream, x, 0);
  };
  // Without layer 2's feed-forward block: as if its last matrix were zero.
  TinyModel without{tiny_.architecture, {}, tiny_.decoded};
  for (float& value : without.decoded["blk.2.ffn_down.weight"]) value = 0;
  const auto expected = reference_forward(without.architecture, without.decoded, ids_, 256);
  EXPECT_LT(relative_error(run(prompt_, {.hooks = &hooks}), expected.logits), 2e-5);
}

TEST_F(Hooks, EarlyExitRunsTheHeadOnTheLayersOutput) {
  std::vector<int> layers;
  TestHooks hooks;
  hooks.layer_output = [&](int layer, kernels::DeviceTensor, kernels::Backend&, kernels::Stream&) {
    layers.push_back(layer);
    return layer < 1;
  };
  const auto state = executor_.sequence();
  const auto early = run(*state, prompt_, {.commit = false, .hooks = &hooks});
  EXPECT_EQ(layers, (std::vector<int>{0, 1}));
  arch::Architecture shallow = tiny_.architecture;
  shallow.n_layers = 2;
  EXPECT_LT(relative_error(early, reference_forward(shallow, tiny_.decoded, ids_, 256).logits), 2e-5);
  // Not committed, so the whole pass can follow in the same state.
  EXPECT_EQ(state->length(), 0);
  EXPECT_EQ(run(*state, prompt_, {}), run(prompt_, {}));
  EXPECT_EQ(state->length(), 40);
}

TEST_F(Hooks, GetTheTimeOfEveryOperation) {
  std::map<arch::OpKind, int> counts;
  double total = 0;
  TestHooks hooks;
  hooks.op_time = [&](const arch::Op& op, double seconds) {
    ++counts[op.kind];
    EXPECT_GE(seconds, 0);
    total += seconds;
  };
  const auto logits = run({std::span(ids_).first(8)}, {.hooks = &hooks});
  EXPECT_EQ(logits, run({std::span(ids_).first(8)}, {}));
  EXPECT_EQ(counts[arch::OpKind::kLinear], 4 * 4 + 1);
  EXPECT_EQ(counts[arch::OpKind::kAttention], 4);
  EXPECT_EQ(counts[arch::OpKind::kNorm], 4 * 2 + 1);
  EXPECT_EQ(counts[arch::OpKind::kRope], 4 * 2);
  EXPECT_GT(total, 0);
}

// [0, k) and then [k, n) from the hidden states between, in one state and in two (as two machines would hold them).
TEST_F(Hooks, LayerRangesAddUpToTheWhole) {
  const auto whole = run(prompt_, {});
  for (const std::uint32_t k : {1u, 2u, 3u, 4u}) {
    const auto one = executor_.sequence();
    const auto between = run(*one, prompt_, {.last_layer = k, .commit = false});
    if (k == 4) {  // what comes out is the head's already
      EXPECT_EQ(between, whole);
      continue;
    }
    ASSERT_EQ(between.size(), ids_.size() * tiny_.architecture.width);
    const model::Segment hidden{{}, between, 1};
    EXPECT_EQ(run(*one, hidden, {.first_layer = k}), whole) << k;
    EXPECT_EQ(one->length(), 40);

    const auto lower = executor_.sequence(), upper = executor_.sequence();
    for (std::size_t begin = 0; begin < ids_.size(); begin += 20) {
      const auto part = run(*lower, {std::span(ids_).subspan(begin, 20)}, {.last_layer = k});
      const auto logits = run(*upper, {{}, part, 1}, {.first_layer = k});
      EXPECT_TRUE(std::equal(logits.begin(), logits.end(), whole.begin() + begin * tiny_.architecture.vocab_size));
    }
  }
}

TEST_F(Hooks, EmbeddingSegmentsStandForTokens) {
  // The embeddings of the ids themselves, between tokens, give what the tokens give.
  std::vector<float> vectors;
  const auto& table = tiny_.decoded["token_embd.weight"];
  const std::size_t width = tiny_.architecture.width;
  for (std::size_t i = 10; i < 25; ++i) {
    vectors.insert(vectors.end(), table.begin() + ids_[i] * width, table.begin() + (ids_[i] + 1) * width);
  }
  const model::Segment segments[] = {{std::span(ids_).first(10)}, {{}, vectors, 7}, {std::span(ids_).subspan(25)}};
  const auto state = executor_.sequence();
  const model::SequenceInput input{state.get(), segments, model::Want::kAll};
  std::vector<float> all;
  executor_.forward().forward({&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
    all.insert(all.end(), row.begin(), row.end());
  });
  EXPECT_EQ(all, run(prompt_, {}));
}

TEST_F(Hooks, RowsOfABidirectionalSegmentSeeEachOther) {
  // With all rows visible to all, swapping two input vectors swaps their outputs as far as positions allow: none here.
  arch::Architecture a = shape();
  a.position = arch::PositionKind::kNone;
  const TinyModel tiny = make_tiny_model(a);
  Executor executor(tiny, cpu());
  const auto hidden = [&](std::vector<std::int32_t> ids, bool bidirectional) {
    const auto state = executor.sequence();
    model::Segment segment{ids};
    segment.bidirectional = bidirectional;
    const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
    std::vector<std::vector<float>> rows;
    executor.forward().forward({&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      rows.emplace_back(row.begin(), row.end());
    });
    return rows;
  };
  const auto ab = hidden({3, 9, 4}, true), ba = hidden({9, 3, 4}, true);
  for (std::size_t i = 0; i < a.vocab_size; ++i) {
    EXPECT_NEAR(ab[0][i], ba[1][i], 1e-4);
    EXPECT_NEAR(ab[1][i], ba[0][i], 1e-4);
  }
  // A causal first row knows nothing of the second.
  EXPECT_EQ(hidden({3, 9, 4}, false)[0], hidden({3, 50, 4}, false)[0]);
  EXPECT_NE(hidden({3, 9, 4}, true)[0], hidden({3, 50, 4}, true)[0]);
}

}  // namespace
}  // namespace lathe::test
