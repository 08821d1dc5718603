// The executor against the plain double-precision forward pass, logits of every position, over shapes, flags, RoPE
// scalings and codecs.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "reference/tiny_model.h"

namespace lathe::test {
namespace {

using arch::Architecture;
using Kind = arch::RopeScaling::Kind;

struct Case {
  std::string name;
  Architecture architecture;
};

Case llama(std::string name, const std::function<void(Architecture&)>& change) {
  Architecture a = tiny_llama();
  change(a);
  return {std::move(name), a};
}

Case gpt2(std::string name, const std::function<void(Architecture&)>& change) {
  Architecture a = tiny_gpt2();
  change(a);
  return {std::move(name), a};
}

void set_heads(Architecture& a, std::uint32_t heads, std::uint32_t kv_heads, std::uint32_t dim) {
  a.n_heads = heads, a.n_kv_heads = kv_heads;
  a.head_dim = a.v_head_dim = a.rotary_dim = dim;
}

std::vector<float> factors(std::uint32_t count, float step) {
  std::vector<float> values;
  for (std::uint32_t i = 0; i < count; ++i) values.push_back(1 + step * static_cast<float>(i));
  return values;
}

Case scaled(std::string name, Kind kind, const std::function<void(arch::RopeScaling&)>& change) {
  return llama(std::move(name), [&](Architecture& a) {
    a.rope_scaling.kind = kind;
    a.rope_scaling.factor = 4;
    a.rope_scaling.original_context = 64;
    change(a.rope_scaling);
  });
}

std::vector<Case> cases() {
  std::vector<Case> all = {
      llama("grouped_queries", [](Architecture&) {}),
      llama("multi_head", [](Architecture& a) { a.n_kv_heads = 4; }),
      llama("multi_query", [](Architecture& a) { a.n_kv_heads = 1; }),
      llama("one_head", [](Architecture& a) { set_heads(a, 1, 1, 64); }),
      llama("one_layer", [](Architecture& a) { a.n_layers = 1; }),
      llama("five_layers", [](Architecture& a) { a.n_layers = 5; }),
      llama("width_96_heads_of_32_ffn_172",
            [](Architecture& a) { a.width = 96, a.ffn_width = 172, set_heads(a, 3, 3, 32); }),
      llama("width_172_heads_of_43_unrotated_tail",
            [](Architecture& a) { a.width = 172, set_heads(a, 4, 2, 43), a.rotary_dim = 42; }),
      llama("heads_wider_than_the_model", [](Architecture& a) { set_heads(a, 4, 2, 24); }),
      llama("values_narrower_than_keys", [](Architecture& a) { a.v_head_dim = 10; }),
      llama("tiny_odd", [](Architecture& a) { a.width = 6, a.ffn_width = 5, a.vocab_size = 7, set_heads(a, 3, 1, 2); }),
      llama("interleaved_rope", [](Architecture& a) { a.rope_layout = RopeLayout::kInterleaved; }),
      llama("partial_rope", [](Architecture& a) { a.rotary_dim = 6; }),
      llama("partial_rope_interleaved",
            [](Architecture& a) { a.rotary_dim = 6, a.rope_layout = RopeLayout::kInterleaved; }),
      llama("no_positions", [](Architecture& a) { a.position = arch::PositionKind::kNone; }),
      llama("alibi", [](Architecture& a) { a.position = arch::PositionKind::kAlibi; }),
      llama("alibi_of_six_heads",
            [](Architecture& a) { a.position = arch::PositionKind::kAlibi, set_heads(a, 6, 3, 8); }),
      llama("fused_qkv", [](Architecture& a) { a.fused_qkv = true; }),
      llama("fused_qkv_with_bias", [](Architecture& a) { a.fused_qkv = a.attention_bias = true; }),
      llama("qkv_bias", [](Architecture& a) { a.attention_bias = true; }),
      llama("output_bias", [](Architecture& a) { a.output_bias = true; }),
      llama("ffn_bias", [](Architecture& a) { a.ffn_bias = true; }),
      llama("norm_bias", [](Architecture& a) { a.norm_bias = true; }),
      llama("layer_norm_with_rope", [](Architecture& a) { a.norm = NormKind::kLayer; }),
      llama("tied", [](Architecture& a) { a.tied_embeddings = true; }),
      llama("qk_norm", [](Architecture& a) { a.qk_norm = true; }),
      llama("large_epsilon", [](Architecture& a) { a.norm_eps = 0.5f, a.qk_norm = true; }),
      llama("attention_scale", [](Architecture& a) { a.attention_scale = 0.7f; }),
      llama("attention_softcap", [](Architecture& a) { a.attention_softcap = 1.5f; }),
      llama("logit_softcap", [](Architecture& a) { a.logit_softcap = 1.2f; }),
      llama("embedding_scale", [](Architecture& a) { a.embedding_scale = 8; }),
      llama("residual_scale", [](Architecture& a) { a.residual_scale = 0.22f; }),
      llama("residual_scale_with_biases",
            [](Architecture& a) { a.residual_scale = 0.22f, a.output_bias = a.ffn_bias = true; }),
      llama("logit_scale_then_softcap", [](Architecture& a) { a.logit_scale = 0.5f, a.logit_softcap = 2; }),
      llama("window_of_1", [](Architecture& a) { a.window = 1; }),
      llama("window_of_7", [](Architecture& a) { a.window = 7; }),
      llama("window_longer_than_the_text", [](Architecture& a) { a.window = 1000; }),
      llama("theta_500000", [](Architecture& a) { a.rope_theta = 500000; }),
      gpt2("gpt2", [](Architecture&) {}),
      gpt2("gpt2_separate_qkv", [](Architecture& a) { a.fused_qkv = false; }),
      gpt2("gpt2_untied", [](Architecture& a) { a.tied_embeddings = false; }),
      gpt2("gpt2_width_96_one_head", [](Architecture& a) { a.width = 96, set_heads(a, 1, 1, 96), a.ffn_width = 384; }),
      gpt2("gpt2_width_48_three_heads",
           [](Architecture& a) { a.width = 48, set_heads(a, 3, 3, 16), a.ffn_width = 192, a.vocab_size = 3; }),
      gpt2("gpt2_grouped_queries", [](Architecture& a) { a.n_kv_heads = 2; }),
      gpt2("gpt2_gated", [](Architecture& a) { a.gated_ffn = true; }),
      scaled("rope_linear", Kind::kLinear, [](arch::RopeScaling&) {}),
      scaled("rope_dynamic_ntk", Kind::kDynamicNtk, [](arch::RopeScaling&) {}),
      scaled("rope_dynamic_ntk_within_the_original", Kind::kDynamicNtk,
             [](arch::RopeScaling& s) { s.original_context = 256; }),
      scaled("rope_yarn", Kind::kYarn, [](arch::RopeScaling&) {}),
      scaled("rope_yarn_own_attention_factor", Kind::kYarn, [](arch::RopeScaling& s) { s.attention_factor = 0.9f; }),
      scaled("rope_llama3", Kind::kLlama3, [](arch::RopeScaling& s) { s.factor = 8; }),
      scaled("rope_longrope_long", Kind::kLongRope,
             [](arch::RopeScaling& s) { s.short_factors = factors(8, 0.1f), s.long_factors = factors(8, 2); }),
      scaled("rope_longrope_short", Kind::kLongRope,
             [](arch::RopeScaling& s) {
               s.original_context = 256, s.short_factors = factors(8, 0.1f), s.long_factors = factors(8, 2);
             }),
      scaled("rope_factors", Kind::kFactors, [](arch::RopeScaling& s) { s.short_factors = factors(8, 0.7f); }),
  };
  struct Activation {
    ActivationKind kind;
    std::string name;
  };
  const Activation activations[] = {
      {ActivationKind::kSilu, "silu"},          {ActivationKind::kGelu, "gelu"},
      {ActivationKind::kGeluTanh, "gelu_tanh"}, {ActivationKind::kGeluQuick, "gelu_quick"},
      {ActivationKind::kRelu, "relu"},          {ActivationKind::kRelu2, "relu2"}};
  for (const Activation& activation : activations) {
    const auto change = [&](Architecture& a) { a.activation = activation.kind; };
    all.push_back(llama("gated_" + activation.name, change));
    all.push_back(gpt2("plain_" + activation.name, change));
  }
  return all;
}

class Reference : public testing::TestWithParam<Case> {};

// Everything F32: what remains is the order of float operations, a few units in the seventh digit.
constexpr double kF32Tolerance = 2e-5;

TEST_P(Reference, LogitsOfEveryPositionAgree) {
  const TinyModel tiny = make_tiny_model(GetParam().architecture, "F32", 7);
  const auto ids = random_ids(41, tiny.architecture.vocab_size, 3);
  const ReferenceResult expected = reference_forward(tiny.architecture, tiny.decoded, ids, 256);
  Executor executor(tiny, cpu());
  const double error = relative_error(executor.logits(ids), expected.logits);
  EXPECT_LT(error, kF32Tolerance);
  RecordProperty("error", std::to_string(error));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Reference, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

// The flags must matter: a reference without the flag is far away from an executor with it, so that the comparison
// above could fail.
TEST(ReferenceSensitivity, EveryFlagChangesTheLogits) {
  for (const Case& c : cases()) {
    if (c.name == "window_longer_than_the_text" || c.name == "rope_dynamic_ntk_within_the_original") continue;
    const Architecture plain = c.architecture.family == "gpt2" ? tiny_gpt2() : tiny_llama();
    if (c.architecture == plain || arch::weight_schema(c.architecture).size() != arch::weight_schema(plain).size()) {
      continue;  // other tensors altogether
    }
    const TinyModel tiny = make_tiny_model(c.architecture, "F32", 7);
    Architecture without = plain;  // same sizes, no other flags
    without.n_layers = c.architecture.n_layers, without.width = c.architecture.width;
    without.n_heads = c.architecture.n_heads, without.n_kv_heads = c.architecture.n_kv_heads;
    without.head_dim = c.architecture.head_dim, without.v_head_dim = c.architecture.v_head_dim;
    without.ffn_width = c.architecture.ffn_width, without.vocab_size = c.architecture.vocab_size;
    without.rotary_dim = without.head_dim / 2 * 2;
    if (without == c.architecture) continue;
    const auto ids = random_ids(41, tiny.architecture.vocab_size, 3);
    const auto with = reference_forward(tiny.architecture, tiny.decoded, ids, 256).logits;
    const auto other = reference_forward(without, tiny.decoded, ids, 256).logits;
    EXPECT_GT(relative_error(std::vector<float>(other.begin(), other.end()), with), 5 * kF32Tolerance) << c.name;
  }
}

// With packed weights the reference runs on what they decode to. A product with F16 or BF16 weights may round its input
// to the same type; the integer paths round it to 8 bits in blocks, which comes to 1.4e-2 of the range here.
struct CodecCase {
  const char* codec;
  double tolerance;
};
class PackedReference : public testing::TestWithParam<CodecCase> {};

TEST_P(PackedReference, LogitsAgreeWithTheDecodedWeights) {
  for (Architecture a : {tiny_llama(), tiny_gpt2()}) {
    a.width = 256, a.ffn_width = 512;
    set_heads(a, 8, a.family == "gpt2" ? 8 : 4, 32);
    const TinyModel tiny = make_tiny_model(a, GetParam().codec, 11);
    const auto ids = random_ids(24, a.vocab_size, 5);
    const ReferenceResult expected = reference_forward(a, tiny.decoded, ids, 256);
    Executor executor(tiny, cpu());
    const double error = relative_error(executor.logits(ids), expected.logits);
    EXPECT_LT(error, GetParam().tolerance) << a.family;
    RecordProperty(a.family, std::to_string(error));
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, PackedReference,
                         testing::Values(CodecCase{"F32", 1e-4}, CodecCase{"F16", 5e-3}, CodecCase{"BF16", 5e-3},
                                         CodecCase{"Q8_0", 3e-2}, CodecCase{"Q4_0", 3e-2}, CodecCase{"Q4_K", 3e-2},
                                         CodecCase{"Q6_K", 3e-2}),
                         [](const auto& info) { return std::string(info.param.codec); });

// The cache's own rounding: 11 bits, or 8 bits with a scale per head.
TEST(ReferenceKv, HalfAndInt8CachesStayClose) {
  const TinyModel tiny = make_tiny_model(tiny_llama(), "F32", 7);
  const auto ids = random_ids(41, tiny.architecture.vocab_size, 3);
  const ReferenceResult expected = reference_forward(tiny.architecture, tiny.decoded, ids, 256);
  double last = 0;
  for (const auto& [kv, tolerance] :
       {std::pair{kernels::KvCodec::kF32, 1e-4}, {kernels::KvCodec::kF16, 2e-3}, {kernels::KvCodec::kI8, 3e-2}}) {
    Executor executor(tiny, cpu(), {.kv = kv});
    const double error = relative_error(executor.logits(ids), expected.logits);
    EXPECT_LT(error, tolerance) << kernels::kv_codec_name(kv);
    EXPECT_GT(error, last) << kernels::kv_codec_name(kv) << " should be coarser than the one before";
    last = error;
  }
}

// Each layer's residual stream and the final hidden state, not only what becomes of them.
class LayerRecorder final : public model::ForwardHooks {
 public:
  std::vector<std::vector<float>> layers;
  bool on_layer_output(int, kernels::DeviceTensor x, kernels::Backend& backend, kernels::Stream& stream) override {
    layers.emplace_back(x.rows * x.cols);
    backend.download(stream, layers.back().data(), x.data, layers.back().size() * sizeof(float));
    return true;
  }
};

TEST(ReferenceLayers, EveryLayerAgrees) {
  Architecture a = tiny_llama();
  a.n_layers = 4;
  const TinyModel tiny = make_tiny_model(a, "F32", 9);
  const auto ids = random_ids(30, a.vocab_size, 3);
  const ReferenceResult expected = reference_forward(a, tiny.decoded, ids, 256);
  Executor executor(tiny, cpu());
  LayerRecorder recorder;
  const auto state = executor.sequence();
  const model::Segment segment{ids};
  const model::SequenceInput input{state.get(), {&segment, 1}, model::Want::kAll};
  std::vector<float> hidden;
  executor.forward().forward({&input, 1}, {.hidden_only = true, .hooks = &recorder},
                             [&](std::size_t, std::uint64_t, std::span<const float> row) {
                               hidden.insert(hidden.end(), row.begin(), row.end());
                             });
  ASSERT_EQ(recorder.layers.size(), 4u);
  for (int layer = 0; layer < 4; ++layer) {
    EXPECT_LT(relative_error(recorder.layers[layer], expected.layers[layer]), 1e-5) << layer;
  }
  EXPECT_LT(relative_error(hidden, expected.hidden), 1e-5);
}

}  // namespace
}  // namespace lathe::test
