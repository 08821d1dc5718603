// A layer at a time, each prepared alone, gives what a pass through the whole model gives.
#include "quant/layer_runner.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cache/paged_kv.h"
#include "model/model.h"
#include "reference/tiny_model.h"

namespace lathe::quant {
namespace {

struct Pass {
  std::shared_ptr<const model::Model> model;
  // Hidden states of a pass over `options`' layers.
  std::vector<float> hidden(const std::vector<std::int32_t>& ids, model::ForwardOptions options = {}) const {
    const arch::StateGroup& group = model->op_list().state.front();
    const kernels::KvLayout layout{kernels::KvCodec::kF32, group.n_kv_heads, group.k_dim, group.v_dim, 16};
    cache::BlockPool pool(model->shared_backend(), layout, model->architecture().n_layers, 16 << 20);
    cache::PagedKv state(pool, cache::full_policy());
    model::ForwardContext context(model, 32, 32);
    model::Segment segment;
    segment.tokens = ids;
    const model::SequenceInput input{&state, std::span(&segment, 1), model::Want::kAll};
    options.hidden_only = true;
    std::vector<float> all;
    context.forward(std::span(&input, 1), options, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      all.insert(all.end(), row.begin(), row.end());
    });
    return all;
  }
};

TEST(LayerRunner, GivesTheHiddenStatesOfTheWholeModel) {
  for (const arch::Architecture& a : {test::tiny_llama(), test::tiny_gpt2()}) {
    const test::TinyModel tiny = test::make_tiny_model(a);
    const auto backend = test::cpu(2);
    const Sequences sequences = {test::random_ids(20, a.vocab_size, 1), test::random_ids(7, a.vocab_size, 2)};
    LayerRunner runner(a, backend, sequences);
    for (std::uint32_t layer = 0; layer < a.n_layers; ++layer) runner.advance(tiny.weights);
    const Pass whole{std::make_shared<model::Model>(a, tiny.weights, backend)};
    for (std::size_t i = 0; i < sequences.size(); ++i) EXPECT_EQ(runner.hidden()[i], whole.hidden(sequences[i]));
  }
}

TEST(LayerRunner, APartOfAModelRefusesOtherLayers) {
  const arch::Architecture a = test::tiny_llama();
  const test::TinyModel tiny = test::make_tiny_model(a);
  const Pass first{std::make_shared<model::Model>(a, tiny.weights, test::cpu(1), model::ModelPart{0, 1, false})};
  const std::vector<std::int32_t> ids = test::random_ids(5, a.vocab_size, 1);
  model::ForwardOptions options;
  EXPECT_THROW(first.hidden(ids, options), Error);
  options.last_layer = 1;
  EXPECT_EQ(first.hidden(ids, options).size(), 5 * a.width);
}

}  // namespace
}  // namespace lathe::quant
