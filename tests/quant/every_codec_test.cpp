// Every codec under every architecture family, at a width that every block divides and at one that leaves tails: the
// executor on packed weights against the executor on the same weights decoded to floats. Only what kernels make of
// activations may differ.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "arch/families.h"
#include "reference/packings.h"

namespace lathe::quant {
namespace {

using test::Packing;
using test::TinyModel;

constexpr std::uint32_t kVocabulary = 64;

arch::Architecture sized(const arch::Family& family, std::uint32_t width) {
  arch::Architecture a = family.defaults;
  const bool encodes = a.encoder.n_layers > 0, two_vocabularies = arch::small_shape(family).encoder.vocab_size > 0;
  a.n_layers = 1;
  a.width = a.ffn_width = width;
  a.n_heads = width / 32;
  a.n_kv_heads = a.fused_qkv || !a.output_head || encodes ? a.n_heads : a.n_heads / 2;
  a.head_dim = a.v_head_dim = 32;
  a.rotary_dim = a.position == arch::PositionKind::kRope ? 32 : 0;
  a.vocab_size = kVocabulary;
  if (two_vocabularies) a.encoder.vocab_size = kVocabulary + 16;
  a.context_length = 256;
  return a;
}

// Logits of nine tokens, of a given source where the model translates, or hidden states where it has no head.
std::vector<float> outputs(const TinyModel& model, const std::shared_ptr<kernels::Backend>& backend,
                           kernels::KvCodec kv = kernels::KvCodec::kF32) {
  const std::vector<std::int32_t> ids = test::random_ids(9, kVocabulary, 2);
  test::Executor executor(model, backend, {.kv = kv});
  const auto state = executor.sequence();
  if (model.architecture.encoder.n_layers > 0) {
    const auto sources = executor.encode({test::random_ids(11, kVocabulary, 3)});
    return executor.logits(*state, ids, 64, {}, sources.front().get());
  }
  if (model.architecture.output_head) return executor.logits(*state, ids);
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
  std::vector<float> rows;
  executor.forward().forward(
      {&input, 1}, {.hidden_only = true},
      [&](std::size_t, std::uint64_t, std::span<const float> row) { rows.insert(rows.end(), row.begin(), row.end()); });
  return rows;
}

double error_of(const std::vector<float>& got, const std::vector<float>& expected) {
  return test::relative_error(got, std::vector<double>(expected.begin(), expected.end()));
}

struct Worst { std::map<std::string, std::pair<double, std::string>> m; ~Worst() { for (auto& [k, v] : m) fmt::print("W {} {:.5f} {}\n", k, v.first, v.second); }
  void add(const std::string& k, double e, std::string_view f) { auto& v = m[k]; if (e > v.first) v = {e, std::string(f)}; } } worst;

TEST(EveryCodec, Measure) {
  const std::shared_ptr<kernels::Backend> backend = test::cpu(2), tables = test::cpu(2, "auto+lut"), scalar = test::cpu(2, "scalar");
  for (const arch::Family& family : arch::families()) {
  for (const std::uint32_t width : {256u, 192u}) {
    const TinyModel plain = test::make_tiny_model(sized(family, width));
    auto all = test::packings();
    if (family.name == "llama") for (int b : {4, 8}) { auto more = with_activation_bits(test::packings(), b); all.insert(all.end(), more.begin(), more.end()); }
    for (const Packing& packing : all) {
      if (!test::holds(packing, Shape{1, width})) continue;
      std::size_t count = 0;
      const TinyModel model = test::packed(plain, packing, &count);
      const std::vector<float> expected = outputs(test::unpacked(model), backend);
      std::string name(packing.codec->name());
      if (packing.params.activation_bits) { name += fmt::format(" a{}", packing.params.activation_bits); worst.add(name + " scalar", error_of(outputs(model, backend), outputs(model, scalar)), family.name); }
      const auto got = outputs(model, backend);
      worst.add(name, error_of(got, expected), family.name);
      worst.add("family " + std::string(family.name), error_of(got, expected), name);
      if (family.name == "llama") worst.add(name + " kv8", error_of(outputs(model, backend, kernels::KvCodec::kI8), got), family.name);
      if (packing.codec->takes_activation_bits()) worst.add(name + " lut", error_of(outputs(model, tables), expected), family.name);
    }
  }}
}

}  // namespace
}  // namespace lathe::quant
