// Impossible inputs are refused before any state is touched, and weights that do not fit never become a model.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

class ForwardErrors : public testing::Test {
 protected:
  void expect_refused(std::span<const model::SequenceInput> inputs, const model::ForwardOptions& options,
                      std::string_view part) {
    std::vector<std::int64_t> lengths;
    for (const auto& input : inputs) lengths.push_back(input.state->length());
    const std::uint64_t used = executor_.pool().used_blocks();
    try {
      executor_.forward().forward(inputs, options, [](std::size_t, std::uint64_t, std::span<const float>) { FAIL(); });
      FAIL() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_EQ(inputs[i].state->length(), lengths[i]);
    EXPECT_EQ(executor_.pool().used_blocks(), used);
  }
  void expect_refused(const model::Segment& segment, std::string_view part, const model::ForwardOptions& options = {}) {
    const auto state = executor_.sequence();
    const model::SequenceInput input{state.get(), {&segment, 1}};
    expect_refused({&input, 1}, options, part);
  }

  TinyModel tiny_ = make_tiny_model(tiny_llama());
  Executor executor_{tiny_, cpu(), {.max_rows = 16, .context = 40}};
};

TEST_F(ForwardErrors, Segments) {
  const std::vector<std::int32_t> negative = {1, -1}, large = {96}, many(17, 1), none;
  expect_refused({negative}, "-1");
  expect_refused({large}, "96");
  expect_refused({many}, "17 rows");
  expect_refused({none}, "without rows");
  const std::vector<float> vectors(100);
  expect_refused({{}, vectors}, "100 floats");
  expect_refused({std::span(many).first(2)}, "hidden states", {.first_layer = 1});
  expect_refused({std::span(many).first(2)}, "layers 5 to 2", {.first_layer = 5});
}

TEST_F(ForwardErrors, Positions) {
  const auto state = executor_.sequence();
  executor_.logits(*state, random_ids(38, 96, 1), 16);
  const std::vector<std::int32_t> ids = {1, 2, 3};
  const model::Segment three{ids}, two{std::span(ids).first(2)};
  const model::SequenceInput too_long{state.get(), {&three, 1}}, fits{state.get(), {&two, 1}};
  expect_refused({&too_long, 1}, {}, "41 tokens exceed the context of 40");
  int rows = 0;
  executor_.forward().forward({&fits, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float>) { ++rows; });
  EXPECT_EQ(rows, 1);
  EXPECT_EQ(state->length(), 40);
}

TEST_F(ForwardErrors, States) {
  const std::vector<std::int32_t> ids = {1, 2};
  const model::Segment segment{ids};
  const auto state = executor_.sequence();
  const model::SequenceInput twice[] = {{state.get(), {&segment, 1}}, {state.get(), {&segment, 1}}};
  expect_refused(twice, {}, "twice");

  Executor half(tiny_, cpu(), {.kv = kernels::KvCodec::kF16});
  const auto other = half.sequence();
  const model::SequenceInput mixed[] = {{state.get(), {&segment, 1}}, {other.get(), {&segment, 1}}};
  expect_refused(mixed, {}, "different layouts");

  arch::Architecture wide = tiny_llama();
  wide.head_dim = wide.v_head_dim = wide.rotary_dim = 32;
  Executor foreign(make_tiny_model(wide), cpu());
  const auto strange = foreign.sequence();
  const model::SequenceInput input{strange.get(), {&segment, 1}};
  expect_refused({&input, 1}, {}, "does not fit");
}

TEST_F(ForwardErrors, BidirectionalSegmentsComeFirst) {
  const std::vector<std::int32_t> ids = {1, 2};
  model::Segment segments[] = {{ids}, {ids}};
  segments[1].bidirectional = true;
  const auto state = executor_.sequence();
  const model::SequenceInput input{state.get(), segments};
  expect_refused({&input, 1}, {}, "first of its pass");
}

TEST_F(ForwardErrors, AnExceptionInASinkLeavesTheSequenceWhereItWas) {
  const auto ids = random_ids(12, 96, 3);
  const auto expected = executor_.logits(ids, 16);
  const auto state = executor_.sequence();
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}};
  EXPECT_THROW(
      executor_.forward().forward({&input, 1}, {}, [](std::size_t, std::uint64_t, std::span<const float>) { throw 1; }),
      int);
  EXPECT_EQ(state->length(), 0);
  EXPECT_EQ(executor_.logits(*state, ids, 16), expected);
}

TEST(ForwardContextErrors, Sizes) {
  const TinyModel gpt2 = make_tiny_model(tiny_gpt2());
  EXPECT_THROW(Executor(gpt2, cpu(), {.context = 257}), Error) << "beyond the learned positions";
  EXPECT_NO_THROW(Executor(gpt2, cpu(), {.context = 256}));
  EXPECT_THROW(Executor(gpt2, cpu(), {.max_rows = 0}), Error);
}

void expect_no_model(const TinyModel& tiny, std::string_view part) {
  try {
    model::Model(tiny.architecture, tiny.weights, cpu());
    FAIL() << "accepted: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

// The same tensors but for one, which becomes `replacement` (or goes, when that is empty).
TinyModel with(const TinyModel& tiny, std::string_view name, const PackedTensor& replacement) {
  TinyModel result{tiny.architecture, {}, {}};
  for (const auto& [other, tensor] : tiny.weights.all()) {
    if (other != name) result.weights.add(tensor);
  }
  if (!replacement.empty()) result.weights.add(replacement);
  return result;
}

TEST(ModelErrors, WeightsThatDoNotFit) {
  const TinyModel tiny = make_tiny_model(tiny_llama());
  expect_no_model(with(tiny, "blk.1.attn_k.weight", {}), "blk.1.attn_k.weight");
  const std::vector<float> values(64, 1);
  expect_no_model(with(tiny, "blk.1.attn_k.weight", pack("blk.1.attn_k.weight", codec_named("F32"), {8, 8}, values)),
                  "[8, 8], expected [32, 64]");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> poisoned(64, 1);
    poisoned[13] = bad;
    const Bytes bytes = Bytes::copy_of(std::as_bytes(std::span(poisoned)), "a file");  // the encoder would refuse it
    expect_no_model(
        with(tiny, "output_norm.weight", packed_blocks("output_norm.weight", codec_named("F32"), {64}, bytes)),
        "output_norm.weight");
  }
  TinyModel invalid{tiny.architecture, tiny.weights, {}};
  invalid.architecture.n_kv_heads = 3;
  expect_no_model(invalid, "3 KV heads");
}

TEST(ModelFacts, ParametersAndBytes) {
  const TinyModel tiny = make_tiny_model(tiny_gpt2());
  const model::Model model(tiny.architecture, tiny.weights, cpu());
  std::uint64_t parameters = 0;
  for (const auto& [name, values] : tiny.decoded) parameters += values.size();
  EXPECT_EQ(model.parameters(), parameters);
  // Every matrix once (the tied table as the head), one row of each table; biases and norms do not count.
  const std::uint64_t d = 64, matrices = 2 * (3 * d * d + d * d + 2 * d * 128) + 96 * d;
  EXPECT_GE(model.bytes_per_token(), 4 * (matrices + 2 * d));
  EXPECT_LE(model.bytes_per_token(), 4 * (matrices + 2 * d) + 4 * 2 * (3 * d + d + 128 + d));
}

}  // namespace
}  // namespace lathe::test
