// Encoders, whose tokens see each other in full: hidden states against the plain double-precision pass, the same bytes
// whoever shares the pass, and what such a model refuses.
#include <gtest/gtest.h>

#include <algorithm>

#include "arch/families.h"
#include "base/error.h"
#include "reference/fake_backend.h"
#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

constexpr std::uint32_t kVocabulary = 160;

arch::Architecture shape_of(const std::string& name) {
  arch::Architecture a = arch::small_shape(arch::family_named(name, "test"));
  a.vocab_size = kVocabulary;
  a.context_length = 256;
  return a;
}

// Hidden states of every token of `ids`, between two other texts in the pass when `neighbours`.
std::vector<float> hidden(Executor& executor, const std::vector<std::int32_t>& ids, bool neighbours = false) {
  const auto before = random_ids(7, kVocabulary, 21), after = random_ids(19, kVocabulary, 22);
  const auto first = executor.sequence(), own = executor.sequence(), last = executor.sequence();
  const model::Segment segments[] = {{before}, {ids}, {after}};
  const model::SequenceInput inputs[] = {{first.get(), {&segments[0], 1}, model::Want::kAll},
                                         {own.get(), {&segments[1], 1}, model::Want::kAll},
                                         {last.get(), {&segments[2], 1}, model::Want::kAll}};
  std::vector<float> rows;
  executor.forward().forward(neighbours ? std::span(inputs) : std::span(inputs).subspan(1, 1), {.hidden_only = true},
                             [&](std::size_t i, std::uint64_t, std::span<const float> row) {
                               if (i == (neighbours ? 1u : 0u)) rows.insert(rows.end(), row.begin(), row.end());
                             });
  return rows;
}

class Encoders : public testing::TestWithParam<std::string> {
 protected:
  arch::Architecture a_ = shape_of(GetParam());
  std::vector<std::int32_t> ids_ = random_ids(41, kVocabulary, 3);
};

TEST_P(Encoders, HiddenStatesAgreeWithThePlainPass) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  const ReferenceResult expected = reference_forward(a_, tiny.decoded, ids_, 256);
  ASSERT_TRUE(expected.logits.empty());
  Executor executor(tiny, cpu()), scalar(tiny, cpu(1, "scalar"));
  EXPECT_LT(relative_error(hidden(executor, ids_), expected.hidden), 5e-5);
  EXPECT_LT(relative_error(hidden(scalar, ids_), expected.hidden), 5e-5);
}

// The reference itself: a token's state depends on those after it, as no decoder's does.
TEST_P(Encoders, TokensSeeThoseThatFollow) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  Executor executor(tiny, cpu());
  auto changed = ids_;
  changed.back() = (changed.back() + 1) % static_cast<std::int32_t>(kVocabulary);
  const auto one = hidden(executor, ids_), other = hidden(executor, changed);
  for (std::uint32_t i = 0; i < a_.width; ++i) {
    if (one[i] != other[i]) return;
  }
  ADD_FAILURE() << "the first token does not see the last";
}

TEST_P(Encoders, VectorsDependOnTheirTextOnly) {
  const TinyModel tiny = make_tiny_model(a_, "Q8_0", 11);
  const ExecutorOptions options{.kv = kernels::KvCodec::kF16};
  Executor one(tiny, cpu(1), options), three(tiny, cpu(3), options);
  const auto alone = hidden(one, ids_);
  EXPECT_EQ(hidden(three, ids_), alone);
  EXPECT_EQ(hidden(three, ids_, true), alone);
}

TEST_P(Encoders, RunOnABackendWhoseAddressesFault) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  Executor plain(tiny, cpu()), watched(tiny, std::make_shared<FakeBackend>(cpu()));
  EXPECT_EQ(hidden(watched, ids_), hidden(plain, ids_));
}

TEST_P(Encoders, RefuseLogitsAndTextsInPieces) {
  const TinyModel tiny = make_tiny_model(a_);
  Executor executor(tiny, cpu());
  try {
    executor.logits(ids_);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lathe embed"), std::string::npos) << error.what();
  }
  const auto state = executor.sequence();
  const model::Segment segment{ids_};
  const model::SequenceInput input{state.get(), {&segment, 1}};
  const auto ignore = [](std::size_t, std::uint64_t, std::span<const float>) {};
  executor.forward().forward({&input, 1}, {.hidden_only = true}, ignore);
  EXPECT_THROW(executor.forward().forward({&input, 1}, {.hidden_only = true}, ignore), Error);
}

INSTANTIATE_TEST_SUITE_P(All, Encoders, testing::Values("bert", "roberta", "nomic-bert"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lathe::test
