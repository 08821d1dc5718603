// A small model of every family: against the plain double-precision forward pass, and byte for byte the same however a
// prompt is cut, whoever shares its batch and whatever was in the cache already.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "arch/families.h"
#include "cache/prefix_tree.h"
#include "reference/fake_backend.h"
#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

constexpr std::size_t kPrompt = 41;  // longer than the windows
constexpr std::uint32_t kVocabulary = 160;

arch::Architecture shape_of(const std::string& name) {
  arch::Architecture a = arch::small_shape(arch::family_named(name, "test"));
  a.vocab_size = kVocabulary;
  a.context_length = 256;
  return a;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  // encoders_test.cpp and encoder_decoder_test.cpp have the others.
  for (const arch::Family& family : arch::families()) {
    if (family.defaults.output_head && family.defaults.encoder.n_layers == 0) names.emplace_back(family.name);
  }
  return names;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Families : public testing::TestWithParam<std::string> {
 protected:
  arch::Architecture a_ = shape_of(GetParam());
  std::vector<std::int32_t> ids_ = random_ids(kPrompt, kVocabulary, 3);
};

// Everything F32: what remains is the order of float operations. A token whose two best experts are that close would
// choose another; the seeds have none.
TEST_P(Families, LogitsOfEveryPositionAgreeWithThePlainPass) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  const ReferenceResult expected = reference_forward(a_, tiny.decoded, ids_, 256);
  Executor executor(tiny, cpu());
  const double error = relative_error(executor.logits(ids_), expected.logits);
  EXPECT_LT(error, 5e-5);
  RecordProperty("error", std::to_string(error));
  Executor scalar(tiny, cpu(1, "scalar"));
  EXPECT_LT(relative_error(scalar.logits(ids_), expected.logits), 5e-5);
}

TEST_P(Families, RowsDependOnNothingButTheirPast) {
  const TinyModel tiny = make_tiny_model(a_, "Q8_0", 11);
  const ExecutorOptions options{.kv = kernels::KvCodec::kF16};
  Executor one(tiny, cpu(1), options), three(tiny, cpu(3), options);
  const auto whole = one.logits(ids_, ids_.size());
  for (const std::size_t chunk : {1, 3, 16}) {
    EXPECT_EQ(one.logits(ids_, chunk), whole) << "chunks of " << chunk;
    EXPECT_EQ(three.logits(ids_, chunk), whole) << "three threads, chunks of " << chunk;
  }
  // Two others in the batch, one of them with a past.
  const auto neighbour = three.sequence(), own = three.sequence(), other = three.sequence();
  three.logits(*neighbour, random_ids(9, kVocabulary, 5));
  const auto first = random_ids(3, kVocabulary, 6), last = random_ids(20, kVocabulary, 8);
  const model::Segment segments[] = {{first}, {ids_}, {last}};
  const model::SequenceInput inputs[] = {{neighbour.get(), {&segments[0], 1}, model::Want::kAll},
                                         {own.get(), {&segments[1], 1}, model::Want::kAll},
                                         {other.get(), {&segments[2], 1}, model::Want::kLast}};
  std::vector<float> rows;
  three.forward().forward(inputs, {}, [&](std::size_t i, std::uint64_t, std::span<const float> row) {
    if (i == 1) rows.insert(rows.end(), row.begin(), row.end());
  });
  EXPECT_EQ(rows, whole) << "with neighbours";
  // A prefix hit.
  cache::PrefixTree tree(three.pool());
  const std::vector<std::uint64_t> content(ids_.begin(), ids_.end());
  tree.insert("", content, own->blocks());
  const auto hit = three.sequence(tree.lookup("", content));
  ASSERT_GT(hit->length(), 0);
  const auto rest = three.logits(*hit, std::span(ids_).subspan(static_cast<std::size_t>(own->length()) / 16 * 16));
  ASSERT_EQ(rest.size(), (ids_.size() - 32) * kVocabulary);
  EXPECT_EQ(std::memcmp(rest.data(), whole.data() + 32 * kVocabulary, rest.size() * sizeof(float)), 0);
}

// Nothing but the backend touches device memory, routing included.
TEST_P(Families, RunOnABackendWhoseAddressesFault) {
  const TinyModel tiny = make_tiny_model(a_, "F32", 7);
  Executor plain(tiny, cpu());
  Executor watched(tiny, std::make_shared<FakeBackend>(cpu()));
  EXPECT_EQ(watched.logits(ids_), plain.logits(ids_));
}

INSTANTIATE_TEST_SUITE_P(All, Families, testing::ValuesIn(family_names()), test_name);

// What is read of the experts for a token is what top_k of them hold.
TEST(ExpertBytes, CountTheActiveOnesOnly) {
  arch::Architecture few = shape_of("qwen3moe"), many = few;
  many.moe.n_experts = 4 * few.moe.n_experts;
  const auto bytes = [](const arch::Architecture& a) {
    return Executor(make_tiny_model(a), cpu()).model().bytes_per_token();
  };
  const std::uint64_t router = std::uint64_t{few.n_layers} * 3 * few.moe.n_experts * few.width * sizeof(float);
  EXPECT_EQ(bytes(many), bytes(few) + router);
  arch::Architecture more = few;
  more.moe.top_k = few.moe.top_k + 1;
  const std::uint64_t expert = std::uint64_t{3} * few.width * few.moe.ffn_width * sizeof(float) * few.n_layers;
  EXPECT_EQ(bytes(more), bytes(few) + expert);
}

class RouterRecorder final : public model::ForwardHooks {
 public:
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
  int calls = 0;
  void on_router(const arch::Op& op, kernels::DeviceTensor logits, kernels::DeviceTensor chosen,
                 kernels::DeviceTensor shares, kernels::Backend& backend, kernels::Stream& stream) override {
    ++calls;
    EXPECT_EQ(logits.cols, op.router.n_experts);
    experts.resize(chosen.rows * chosen.cols), weights.resize(shares.rows * shares.cols);
    backend.download(stream, experts.data(), chosen.data, experts.size() * sizeof(std::int32_t));
    backend.download(stream, weights.data(), shares.data, weights.size() * sizeof(float));
  }
};

TEST(RouterHook, SeesWhatEveryLayerChose) {
  const arch::Architecture a = shape_of("mixtral");
  Executor executor(make_tiny_model(a), cpu());
  RouterRecorder recorder;
  const auto state = executor.sequence();
  const auto ids = random_ids(5, kVocabulary, 3);
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}};
  executor.forward().forward({&input, 1}, {.hooks = &recorder},
                             [](std::size_t, std::uint64_t, std::span<const float>) {});
  EXPECT_EQ(recorder.calls, static_cast<int>(a.n_layers));
  ASSERT_EQ(recorder.experts.size(), 10u);
  for (std::size_t row = 0; row < 5; ++row) {
    EXPECT_NE(recorder.experts[2 * row], recorder.experts[2 * row + 1]);
    EXPECT_GE(recorder.weights[2 * row], recorder.weights[2 * row + 1]);
    EXPECT_NEAR(recorder.weights[2 * row] + recorder.weights[2 * row + 1], 1, 1e-6);
  }
}

}  // namespace
}  // namespace lathe::test
