// Whole models through quantize_model: every method and several codecs on the small model that ships, interruption and
// resumption, and what is refused.
#include "quant/quantize_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"
#include "reference/tiny_model.h"
#include "support/data.h"
#include "text/tokenizer_spec.h"

namespace lathe::quant {
namespace {

using test::TempDir;

// A method that is interrupted before the layer that comes after `layers` of them.
class Stop final : public Method {
 public:
  Stop(const Method& inner, int layers) : inner_(inner), left_(layers) {}
  std::string_view name() const override { return inner_.name(); }
  std::string_view description() const override { return inner_.description(); }
  std::string_view paper() const override { return inner_.paper(); }
  Needs needs() const override { return inner_.needs(); }
  bool can_target(const Target& target) const override { return inner_.can_target(target); }
  void prepare(MethodOptions& options, const WholeModel& model) const override { inner_.prepare(options, model); }
  void quantize(LayerWork& work) const override {
    if (left_-- == 0) throw Cancelled();
    inner_.quantize(work);
  }

 private:
  const Method& inner_;
  mutable int left_;
};

class QuantizeModel : public testing::Test {
 protected:
  QuantizeOptions options(const Method& method, Target target) const {
    QuantizeOptions o;
    o.method = &method;
    o.target = target;
    o.calibration_source = "a text";
    for (int i = 0; i < 400; ++i)
      o.calibration_text += "Once upon a time there was a little girl who loved her big dog. ";
    o.calibration = {6, 64};
    o.threads = 2;
    o.progress = false;
    return o;
  }
  // The method's own codec, with `params` where it has any.
  static Target target_of(const Method& method, const CodecParams& params) {
    const Codec& codec = codec_named(method.usual_codec());
    return {&codec, codec.usual_params() == CodecParams{} ? CodecParams{} : params};
  }
  // Mean squared difference of logits, relative to their variance.
  double distance(const formats::ModelFile& model) const {
    const auto logits = [&](const formats::ModelFile& m) {
      return test::Executor(m.architecture, m.weights, test::cpu(2)).logits(ids_);
    };
    const std::vector<float> a = logits(model_), b = logits(model);
    double error = 0, sum = 0, squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
      sum += a[i], squares += double{a[i]} * a[i];
    }
    const double n = static_cast<double>(a.size());
    return error / (squares - sum * sum / n);
  }

  TempDir folder_;
  formats::ModelFile model_ = formats::load_model(test::source_dir() / "models/tiny/stories260K.gguf");
  std::vector<std::int32_t> ids_ = test::random_ids(60, model_.architecture.vocab_size, 5);
};

TEST_F(QuantizeModel, EveryMethodKeepsAFourBitModelClose) {
  const Target targets[] = {
      {&codec_named("INT_SYM"), {4, 32}},  {&codec_named("INT_ASYM"), {4, 64}},    {&codec_named("Q4_0"), {}},
      {&codec_named("SPQR"), {4, 16}},     {&codec_named("BITMOD"), {4, 64}},      {&codec_named("FDB"), {2, 16}},
      {&codec_named("BALANCED"), {2, 16}}, {&codec_named("DGQ"), {4, 64}},         {&codec_named("SLIM"), {4, 16}},
      {&codec_named("W8A8"), {}},          {&codec_named("SPQR_ORDERED"), {4, 16}}};
  for (const Method* method : all_methods()) {
    for (const Target& target : targets) {
      if (!method->can_target(target)) continue;
      const std::filesystem::path out = folder_ / fmt::format("{}.lathe", target.codec->name());
      QuantizeOptions o = options(*method, target);
      if (target.codec != targets[0].codec) o.method_options.alpha = 0.5f;  // a search is long enough once
      const QuantizeReport report = quantize_model(model_, out, o);
      const formats::ModelFile got = formats::load_model(out);
      const double off = distance(got);
      EXPECT_TRUE(off > 0 && off < (target.params.bits == 2 ? 0.6 : 0.05))
          << method->name() << ", " << target.text() << ": " << off;
      EXPECT_EQ(report.bytes, got.weights.bytes());
      // Rows of 172 do not divide into blocks of 32.
      EXPECT_EQ(got.weights.at("blk.1.ffn_up.weight").codec, target.codec);
      EXPECT_EQ(got.weights.at("blk.1.ffn_down.weight").codec->name(),
                target.codec->name() == "Q4_0" ? "F16" : target.codec->name());
      EXPECT_FALSE(std::filesystem::exists(out.string() + ".partial"));
    }
  }
}

// On the calibration text itself, where GPTQ promises it.
TEST_F(QuantizeModel, GptqIsCloserThanRounding) {
  const Target target{&codec_named("INT_ASYM"), {3, 64}};
  const QuantizeOptions any = options(rtn_method(), target);
  ids_ = model_.tokenizer->encode(any.calibration_text.substr(0, 200), {.add_special = true, .parse_special = false});
  quantize_model(model_, folder_ / "rtn.lathe", any);
  quantize_model(model_, folder_ / "gptq.lathe", options(gptq_method(), target));
  EXPECT_LT(distance(formats::load_model(folder_ / "gptq.lathe")),
            0.8 * distance(formats::load_model(folder_ / "rtn.lathe")));
}

TEST_F(QuantizeModel, GoesOnWhereItStoppedWithTheSameBytes) {
  const Method* const methods[] = {&gptq_method(), &awq_method(),      &spqr_method(),
                                   &spqr_method(), &slim_llm_method(), &shadow_method()};
  for (std::size_t i = 0; i < std::size(methods); ++i) {
    const Method* method = methods[i];
    QuantizeOptions o = options(*method, target_of(*method, {3, 64}));
    if (i == 3) o.target.codec = &codec_named("SPQR");  // not the usual SPQR_ORDERED
    quantize_model(model_, folder_ / "whole.lathe", o);
    // Two finished layers, as an interrupted run leaves them.
    const std::filesystem::path out = folder_ / fmt::format("cut-{}.lathe", i);
    const Stop stop(*method, 2);
    QuantizeOptions stopped = o;
    stopped.method = &stop;
    EXPECT_THROW(quantize_model(model_, out, stopped), Cancelled);
    EXPECT_FALSE(std::filesystem::exists(out));
    EXPECT_TRUE(std::filesystem::exists(out.string() + ".partial/layer-00001"));
    const Stop rest(*method, 3);  // the model has five layers
    stopped.method = &rest;
    quantize_model(model_, out, stopped);
    EXPECT_EQ(read_file(out), read_file(folder_ / "whole.lathe")) << method->name();
  }
}

// Layers of another run would be mixed with those of this one.
TEST_F(QuantizeModel, StartsAnewWhenTheModelTheTokensOrTheKernelAreOthers) {
  const std::filesystem::path out = folder_ / "m.lathe";
  const QuantizeOptions o = options(gptq_method(), {&codec_named("INT_SYM"), {3, 64}});
  quantize_model(model_, folder_ / "whole.lathe", o);
  const std::string whole = read_file(folder_ / "whole.lathe");
  // Two layers of a run that is interrupted there, then one that must not take them.
  const auto rerun = [&](const formats::ModelFile& before, QuantizeOptions first) {
    const Stop stop(gptq_method(), 2), all(gptq_method(), 5);
    first.method = &stop;
    EXPECT_THROW(quantize_model(before, out, first), Cancelled);
    QuantizeOptions second = o;
    second.method = &all;
    quantize_model(model_, out, second);
    return read_file(out);
  };
  // One weight amid a tensor, as somebody who mends a model changes it in place.
  const PackedTensor& old = model_.weights.at("blk.0.ffn_up.weight");
  std::vector<std::byte> bytes(old.bytes());
  std::copy_n(old.parts[0].data.data(), bytes.size(), bytes.begin());
  bytes[bytes.size() / 2 + 2] ^= std::byte{0x40};
  formats::ModelFile changed = model_;
  changed.weights.remove(old.name);
  changed.weights.add(packed_blocks(old.name, *old.codec, old.shape, Bytes(bytes, "test")));
  EXPECT_EQ(rerun(changed, o), whole);

  formats::ModelFile other_tokens = model_;
  text::TokenizerSpec spec = *model_.tokenizer_spec;
  spec.special.add_bos = !spec.special.add_bos;
  other_tokens.tokenizer = text::make_tokenizer(spec);
  EXPECT_EQ(rerun(other_tokens, o), whole);

  QuantizeOptions scalar = o;
  scalar.kernel = "scalar";
  EXPECT_EQ(rerun(model_, scalar), whole);
}

TEST_F(QuantizeModel, NamesADamagedLayer) {
  const std::filesystem::path out = folder_ / "m.lathe", layer = out.string() + ".partial/layer-00000";
  const Stop stop(rtn_method(), 1);
  QuantizeOptions o = options(stop, {&codec_named("INT_SYM"), {4, 32}});
  EXPECT_THROW(quantize_model(model_, out, o), Cancelled);
  o.method = &rtn_method();
  std::string flipped = read_file(layer);
  flipped[flipped.size() / 2] ^= 1;
  for (const std::string& damaged :
       {std::string("[]"), std::string("[{}]\n"), std::string("{\"tensors\":[{}]}\n"),
        std::string("{\"tensors\":[7]}\n"), std::string("{\"tensors\":[{\"parts\":[1]}]}\n"),
        std::string("{\"hash\":\"\",\"tensors\":[]}\n"), std::string("{\n"), flipped}) {
    write_file(layer, damaged);
    try {
      quantize_model(model_, out, o);
      ADD_FAILURE() << damaged;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), layer.string()) << error.what();
      EXPECT_NE(error.remedy(), "") << error.what();
    }
  }
  std::filesystem::remove(layer);
  quantize_model(model_, out, o);
}

TEST_F(QuantizeModel, ThreadsAndKernelsOfTheSameKindGiveTheSameBytes) {
  QuantizeOptions o = options(gptq_method(), {&codec_named("INT_ASYM"), {2, 32}});
  quantize_model(model_, folder_ / "two.lathe", o);
  o.threads = 3;
  quantize_model(model_, folder_ / "three.lathe", o);
  EXPECT_EQ(read_file(folder_ / "two.lathe"), read_file(folder_ / "three.lathe"));
}

TEST_F(QuantizeModel, RefusesWithoutTouchingTheOutput) {
  const std::filesystem::path out = folder_ / "m.lathe";
  {
    AtomicFile file(out);
    file.write("mine");
    file.commit();
  }
  QuantizeOptions o = options(gptq_method(), {&codec_named("INT_SYM"), {4, 32}});
  o.calibration_text = "Too short.";
  EXPECT_THROW(quantize_model(model_, out, o), Error);
  o = options(gptq_method(), {&codec_named("Q4_K"), {}});
  EXPECT_THROW(quantize_model(model_, out, o), UsageError);
  o = options(rtn_method(), {&codec_named("INT_SYM"), {9, 32}});
  EXPECT_THROW(quantize_model(model_, out, o), Error);
  const auto refuses = [&](const std::string& name, float value, const Method& method) {
    const PackedTensor& tensor = model_.weights.at(name);
    std::vector<float> values = tensor.to_floats();
    values[tensor.shape.cols() + 3] = value;
    formats::ModelFile poisoned = model_;
    poisoned.weights.remove(name);
    poisoned.weights.add(
        packed_blocks(name, codec_named("F32"), tensor.shape, Bytes(std::as_bytes(std::span(values)), "test")));
    QuantizeOptions o = options(method, target_of(method, {method.name() == "db-llm" ? 2 : 4, 32}));
    o.embedding = Target{&codec_named("Q8_0"), {}};
    o.method_options.alpha = method.name() == "smoothquant+" ? 0.5f : -1;
    try {
      quantize_model(poisoned, out, o);
      ADD_FAILURE() << method.name() << " took " << value << " in " << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), fmt::format("tensor \"{}\"", name)) << method.name() << ": " << error.what();
      EXPECT_NE(error.problem().find(fmt::format("{} at row 1, column 3", value)), std::string::npos) << error.what();
      EXPECT_NE(error.remedy(), "") << method.name();
    }
  };
  for (const Method* method : all_methods()) {
    for (const float value : {NAN, -INFINITY, 1e6f}) {
      for (const char* name : {"blk.1.ffn_up.weight", "blk.1.attn_v.weight", "token_embd.weight"}) {
        refuses(name, value, *method);
      }
    }
  }
  EXPECT_EQ(read_file(out), "mine");
}

// Half precision ends at 65504; the exponents of F32 and BF16 go further.
TEST_F(QuantizeModel, TakesWeightsAsLargeAsTheCodecDoes) {
  const std::string name = "blk.1.ffn_up.weight";
  const PackedTensor& tensor = model_.weights.at(name);
  std::vector<float> values = tensor.to_floats();
  values[3] = 1 << 20;
  formats::ModelFile large = model_;
  large.weights.remove(name);
  large.weights.add(
      packed_blocks(name, codec_named("F32"), tensor.shape, Bytes(std::as_bytes(std::span(values)), "test")));
  const std::filesystem::path out = folder_ / "m.lathe";
  for (const char* codec : {"F32", "BF16"}) {
    quantize_model(large, out, options(rtn_method(), {&codec_named(codec), {}}));
    formats::LoadOptions load;
    EXPECT_EQ(formats::load_model(out, load).weights.at(name).to_floats()[3], 1 << 20) << codec;
  }
  EXPECT_THROW(quantize_model(large, out, options(rtn_method(), {&codec_named("F16"), {}})), Error);
}

}  // namespace
}  // namespace lathe::quant
