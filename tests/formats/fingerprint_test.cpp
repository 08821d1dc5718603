// Fingerprints follow what a model or an adapter computes, not where it lies or what it is called.
#include "formats/fingerprint.h"

#include <gtest/gtest.h>

#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

class FingerprintTest : public testing::Test {
 protected:
  FingerprintTest() {
    synthesize(synth_preset("gpt2-tiny"), folder_ / "m.gguf", {.codec = "F16", .seed = 1});
    model_ = load_model(folder_ / "m.gguf");
  }
  // The model with one byte of a tensor changed.
  ModelFile with_byte_flipped(const std::string& name, std::uint64_t at) const {
    ModelFile changed = model_;
    PackedTensor tensor = model_.weights.at(name);
    std::string bytes(tensor.parts[0].data.text());
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    tensor.parts[0].data = Bytes::copy_of(bytes, "changed");
    changed.weights.remove(name);
    changed.weights.add(std::move(tensor));
    return changed;
  }

  test::TempDir folder_;
  ModelFile model_;
};

TEST_F(FingerprintTest, IsThatOfTheContent) {
  const std::uint64_t print = fingerprint(model_);
  std::filesystem::copy(folder_ / "m.gguf", folder_ / "elsewhere.gguf");
  EXPECT_EQ(fingerprint(load_model(folder_ / "elsewhere.gguf")), print);
  // The same tensors in another layout are the same model.
  save_model(model_, folder_ / "m.lathe");
  EXPECT_EQ(fingerprint(load_model(folder_ / "m.lathe")), print);
  synthesize(synth_preset("gpt2-tiny"), folder_ / "other.gguf", {.codec = "F16", .seed = 2});
  EXPECT_NE(fingerprint(load_model(folder_ / "other.gguf")), print);
  save_model(model_, folder_ / "q8.gguf", {.dtype = "Q8_0"});
  EXPECT_NE(fingerprint(load_model(folder_ / "q8.gguf")), print);
}

TEST_F(FingerprintTest, SeesTheArchitectureAndBothEndsOfEveryTensor) {
  const std::uint64_t print = fingerprint(model_);
  ModelFile changed = model_;
  changed.architecture.norm_eps *= 2;
  EXPECT_NE(fingerprint(changed), print);
  for (const auto& [name, tensor] : model_.weights.all()) {
    const std::uint64_t size = tensor.parts[0].data.size();
    for (const std::uint64_t at : {std::uint64_t{0}, std::min<std::uint64_t>(4095, size - 1), size - 1})
      EXPECT_NE(fingerprint(with_byte_flipped(name, at)), print) << name << ", byte " << at;
  }
}

TEST_F(FingerprintTest, AnAdaptersIsThatOfEveryByteAndScale) {
  AdapterFile adapter;
  const auto matrix = [](const char* name, float first) {
    std::vector<float> values(4 * 3000, 0.5f);
    values[6000] = first;
    return pack(name, codec_named("F32"), {4, 3000}, values);
  };
  adapter.low_rank["blk.0.attn_q"] = {matrix("a", 1), matrix("b", 2), 1};
  const std::uint64_t print = fingerprint(adapter);
  AdapterFile same = adapter;
  same.path = "another";
  EXPECT_EQ(fingerprint(same), print);
  for (const auto change :
       {+[](AdapterFile& f) { f.low_rank["blk.0.attn_q"].scale = 2; },
        +[](AdapterFile& f) { std::swap(f.low_rank["blk.0.attn_q"].a, f.low_rank["blk.0.attn_q"].b); },
        +[](AdapterFile& f) { f.low_rank["blk.1.attn_q"] = f.low_rank["blk.0.attn_q"]; }}) {
    AdapterFile other = adapter;
    change(other);
    EXPECT_NE(fingerprint(other), print);
  }
  AdapterFile middle = adapter;  // far from both ends
  middle.low_rank["blk.0.attn_q"].a = matrix("a", 1.5f);
  EXPECT_NE(fingerprint(middle), print);
}

}  // namespace
}  // namespace lathe::formats
