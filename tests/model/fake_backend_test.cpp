// The forward pass, paged KV and the prefix tree on a backend whose addresses nobody else can follow.
#include "reference/fake_backend.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cache/prefix_tree.h"
#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

using Log = std::vector<std::string>;

arch::Architecture everything(arch::Architecture a) {
  a.qk_norm = true;
  a.residual_scale = 0.5f, a.logit_scale = 0.5f, a.logit_softcap = 3;
  a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  return a;
}

TEST(FakeBackend, TheWholePassWorksOnAddressesNobodyElseCanFollow) {
  arch::Architecture alibi = tiny_llama();
  alibi.position = arch::PositionKind::kAlibi;
  for (const arch::Architecture& a : {everything(tiny_llama()), tiny_gpt2(), alibi}) {
    const TinyModel tiny = make_tiny_model(a, "Q8_0");
    const auto ids = random_ids(37, a.vocab_size, 2);
    Executor plain(tiny, cpu());
    const auto expected = plain.logits(ids, 9);

    const auto fake = std::make_shared<FakeBackend>(cpu());
    Executor executor(tiny, fake);
    const auto first = executor.sequence();
    EXPECT_EQ(executor.logits(*first, ids, 9), expected);

    // A second sequence from the prefix tree, a fork that copies on write, and both again in one batch.
    cache::PrefixTree tree(executor.pool());
    const std::vector<std::uint64_t> content(ids.begin(), ids.end());
    tree.insert("", content, first->blocks());
    const auto second = executor.sequence(tree.lookup("", content));
    ASSERT_EQ(second->length(), 32);
    const auto rest = executor.logits(*second, std::span(ids).subspan(32));
    EXPECT_TRUE(std::equal(rest.begin(), rest.end(), expected.begin() + 32 * a.vocab_size));
    fake->log.clear();
    const auto fork = second->fork();
    const std::int32_t next = 5;
    const model::Segment segment{{&next, 1}};
    const model::SequenceInput inputs[] = {{second.get(), {&segment, 1}}, {fork.get(), {&segment, 1}}};
    std::vector<std::vector<float>> rows;
    executor.forward().forward(inputs, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      rows.emplace_back(row.begin(), row.end());
    });
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0], rows[1]);
    // Who writes first copies, the other is then alone with its block.
    EXPECT_EQ(std::count(fake->log.begin(), fake->log.end(), "copy"), 1);
  }
}

TEST(FakeBackend, OneLayerTakesExactlyTheseOperations) {
  arch::Architecture a = tiny_llama();
  a.n_layers = 1;
  const TinyModel tiny = make_tiny_model(a);
  const auto fake = std::make_shared<FakeBackend>(cpu());
  Executor executor(tiny, fake);
  fake->log.clear();
  executor.logits(std::vector<std::int32_t>{1, 2, 3});
  const Log expected = {"upload",      "rope_table", "upload",   "embed",  // positions, their table; ids, their rows
                        "norm",        "linear 3",   "rope",     "rope",     "kv_append", "attention 1",
                        "linear 1",                                           // attention, joining the residual
                        "norm",        "linear 2",   "gated",    "linear 1",  // feed-forward
                        "gather_rows", "norm",       "linear 1", "download", "download",  "download"};  // head
  EXPECT_EQ(fake->log, expected);
}

TEST(FakeBackend, OneGpt2LayerTakesExactlyTheseOperations) {
  arch::Architecture a = tiny_gpt2();
  a.n_layers = 1;
  a.residual_scale = 0.5f, a.logit_scale = 2, a.logit_softcap = 30;
  const TinyModel tiny = make_tiny_model(a);
  const auto fake = std::make_shared<FakeBackend>(cpu());
  Executor executor(tiny, fake);
  fake->log.clear();
  executor.logits(std::vector<std::int32_t>{1});
  const Log expected = {"upload", "upload",   "embed",     "embed",  // positions; ids; tokens, positions
                        "norm",   "linear 1", "kv_append", "attention 1", "linear 1", "scale", "add",
                        "norm",   "linear 1", "activate",  "linear 1",    "scale",    "add",   "gather_rows",
                        "norm",   "linear 1", "scale",     "softcap",     "download"};
  EXPECT_EQ(fake->log, expected);
}

TEST(FakeBackend, CatchesAddressesOutsideOfWhatWasHandedOut) {
  FakeBackend fake(cpu());
  const auto stream = fake.make_stream();
  const kernels::DeviceBuffer buffer = fake.allocate(64);
  const auto tensor = kernels::DeviceTensor::dense(buffer.data(), 4, 4);
  EXPECT_NO_THROW(fake.scale(*stream, tensor, 2));
  EXPECT_THROW(fake.scale(*stream, kernels::DeviceTensor::dense(buffer.data(), 4, 5), 2), std::logic_error);
  EXPECT_THROW(fake.scale(*stream, tensor.slice_rows(3, 2), 2), std::logic_error);
  float on_the_stack = 0;
  EXPECT_THROW(fake.scale(*stream, kernels::DeviceTensor::dense(&on_the_stack, 1, 1), 2), std::logic_error);
  EXPECT_DEATH(static_cast<volatile float*>(buffer.data())[0] = 1, "");
}

}  // namespace
}  // namespace lathe::test
