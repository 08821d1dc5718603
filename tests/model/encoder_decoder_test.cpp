// Encoder-decoder models: logits given a source against the plain double-precision pass, the same bytes however a text
// is cut and whoever shares its passes or its source, and what such a model refuses.
#include <gtest/gtest.h>

#include <algorithm>

#include "arch/families.h"
#include "base/error.h"
#include "reference/fake_backend.h"
#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

constexpr std::uint32_t kVocabulary = 160;

using Ids = std::vector<std::int32_t>;

arch::Architecture shape_of(const std::string& name) {
  arch::Architecture a = arch::small_shape(arch::family_named(name, "test"));
  a.vocab_size = kVocabulary;
  a.encoder.n_layers = 3;  // not as many as the decoder has
  if (a.encoder.vocab_size > 0) a.encoder.vocab_size = kVocabulary + 30;
  a.context_length = 256;
  a.relative.max_distance = 40;  // so that the texts reach it
  return a;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const arch::Family& family : arch::families()) {
    if (family.defaults.encoder.n_layers > 0) names.emplace_back(family.name);
  }
  return names;
}

class EncoderDecoders : public testing::TestWithParam<std::string> {
 protected:
  arch::Architecture a_ = shape_of(GetParam());
  Ids source_ = random_ids(71, kVocabulary, 3), target_ = random_ids(53, kVocabulary, 4);
};

std::vector<float> logits(Executor& executor, const Ids& source, const Ids& target, std::size_t chunk = 64) {
  const auto encoded = executor.encode({source});
  const auto state = executor.sequence();
  return executor.logits(*state, target, chunk, {}, encoded.front().get());
}

// Everything F32: what remains is the order of float operations, and T5's scores are not scaled down, so that roundings
// weigh more than in other families.
TEST_P(EncoderDecoders, LogitsOfEveryPositionAgreeWithThePlainPass) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  const ReferenceResult expected = reference_translation(a_, tiny.decoded, source_, target_);
  Executor executor(tiny, cpu()), scalar(tiny, cpu(1, "scalar"));
  const double error = relative_error(logits(executor, source_, target_), expected.logits);
  EXPECT_LT(error, 1e-4);
  RecordProperty("error", std::to_string(error));
  EXPECT_LT(relative_error(logits(scalar, source_, target_), expected.logits), 5e-5);
}

// The encoder alone, as a model that makes hidden states.
TEST_P(EncoderDecoders, HiddenStatesOfTheSourceAgreeWithThePlainPass) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  const ReferenceResult expected = reference_translation(a_, tiny.decoded, source_, target_);
  Executor executor(tiny, cpu());
  model::ForwardContext encoder(executor.model().encoder(), 128, 256);
  const auto state = executor.sequence();
  const model::Segment segment{source_};
  const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
  std::vector<float> rows;
  encoder.forward({&input, 1}, {.hidden_only = true}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
    rows.insert(rows.end(), row.begin(), row.end());
  });
  EXPECT_LT(relative_error(rows, expected.encoded), 5e-5);
}

// The reference itself: the source matters, from its first token to its last.
TEST_P(EncoderDecoders, TheSourceIsRead) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  Executor executor(tiny, cpu());
  const auto whole = logits(executor, source_, target_);
  for (const std::size_t changed : {std::size_t{0}, source_.size() - 1}) {
    Ids other = source_;
    other[changed] = (other[changed] + 1) % static_cast<std::int32_t>(kVocabulary);
    EXPECT_NE(logits(executor, other, target_), whole) << changed;
  }
}

TEST_P(EncoderDecoders, RowsDependOnTheirSourceAndPastOnly) {
  const TinyModel tiny = make_tiny_model(a_, "Q8_0", 11);
  for (const kernels::KvCodec kv : {kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
    const ExecutorOptions options{.kv = kv, .max_rows = 160};
    Executor one(tiny, cpu(1), options), three(tiny, cpu(3), options);
    const auto whole = logits(one, source_, target_, target_.size());
    for (const std::size_t chunk : {1, 3, 16}) {
      EXPECT_EQ(logits(one, source_, target_, chunk), whole) << "chunks of " << chunk;
      EXPECT_EQ(logits(three, source_, target_, chunk), whole) << "three threads, chunks of " << chunk;
    }
    // Sources that are encoded together; a neighbour with a past and another source, and a fork that shares this one.
    const auto sources = three.encode({random_ids(9, kVocabulary, 5), source_, random_ids(30, kVocabulary, 6)});
    const auto neighbour = three.sequence(), own = three.sequence();
    three.logits(*neighbour, random_ids(9, kVocabulary, 7), 64, {}, sources[0].get());
    const std::size_t half = target_.size() / 2;
    const Ids first(target_.begin(), target_.begin() + static_cast<std::ptrdiff_t>(half)),
        rest(target_.begin() + static_cast<std::ptrdiff_t>(half), target_.end());
    auto rows = three.logits(*own, first, 64, {}, sources[1].get());
    const auto twin = own->fork();
    const Ids other = random_ids(11, kVocabulary, 8);
    const model::Segment segments[] = {{other}, {rest}, {other}};
    const model::SequenceInput inputs[] = {
        {neighbour.get(), {&segments[0], 1}, model::Want::kAll, {}, sources[0].get()},
        {own.get(), {&segments[1], 1}, model::Want::kAll, {}, sources[1].get()},
        {twin.get(), {&segments[2], 1}, model::Want::kAll, {}, sources[1].get()}};
    three.forward().forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
      if (i == 1) rows.insert(rows.end(), row.begin(), row.end());
    });
    EXPECT_EQ(rows, whole) << "with neighbours";
  }
}

TEST_P(EncoderDecoders, RunOnABackendWhoseAddressesFault) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  Executor plain(tiny, cpu()), watched(tiny, std::make_shared<FakeBackend>(cpu()));
  EXPECT_EQ(logits(watched, source_, target_), logits(plain, source_, target_));
}

TEST_P(EncoderDecoders, BlocksComeBack) {
  const TinyModel tiny = make_tiny_model(a_);
  Executor executor(tiny, cpu());
  logits(executor, source_, target_);
  EXPECT_EQ(executor.pool().used_blocks(), 0u);
}

TEST_P(EncoderDecoders, RefuseADecoderWithoutASource) {
  const TinyModel tiny = make_tiny_model(a_);
  Executor executor(tiny, cpu());
  EXPECT_THROW(executor.logits(target_), Error);
  Executor plain(make_tiny_model(tiny_llama()), cpu());
  const auto encoded = executor.encode({source_});
  const auto state = plain.sequence();
  EXPECT_THROW(plain.logits(*state, Ids{1, 2}, 64, {}, encoded.front().get()), Error);
}

TEST_P(EncoderDecoders, ShareTheEmbeddingBetweenBothSides) {
  if (a_.encoder.vocab_size > 0) GTEST_SKIP() << "has two";
  const TinyModel tiny = make_tiny_model(a_);
  const auto backend = cpu();
  const std::uint64_t before = backend->allocated_bytes();
  const model::Model model(a_, tiny.weights, backend);
  // Less than a second table: weights are read once, whichever side they belong to.
  EXPECT_LT(backend->allocated_bytes() - before, tiny.weights.bytes() * 5 / 4);
  EXPECT_EQ(model.ops().front().table, model.encoder()->ops().front().table);
}

INSTANTIATE_TEST_SUITE_P(All, EncoderDecoders, testing::ValuesIn(family_names()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// What fits no encoder-decoder model is said in one line.
TEST(EncoderDecoderShapes, AreChecked) {
  const auto refused = [](const auto& change, const std::string& words) {
    arch::Architecture a = shape_of("t5");
    change(a);
    try {
      arch::validate(a, "file");
      ADD_FAILURE() << words;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(words), std::string::npos) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    }
  };
  using A = arch::Architecture;
  refused([](A& a) { a.relative.buckets = 0; }, "0 buckets");
  refused([](A& a) { a.relative.buckets = 33; }, "33 buckets");
  refused([](A& a) { a.relative.buckets = 1u << 31; }, "buckets");
  refused([](A& a) { a.relative.max_distance = 16; }, "largest relative position");
  refused([](A& a) { a.relative.max_distance = UINT32_MAX; }, "largest relative position");
  refused([](A& a) { a.encoder.n_layers = 0, a.encoder.start_token = 1; }, "encoder");
  refused([](A& a) { a.encoder.n_layers = 1u << 30; }, "encoder");
  refused([](A& a) { a.encoder.start_token = kVocabulary; }, "outside the vocabulary");
  refused([](A& a) { a.causal = false; }, "not supported");
  refused([](A& a) { a.window = 5; }, "windows");
  refused([](A& a) { a.attention_sinks = true; }, "sinks");
}

}  // namespace
}  // namespace lathe::test
