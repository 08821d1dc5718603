// BitNet checkpoints: four ternary weights a byte, packed here as their writers pack them, and read back exactly.
#include <gtest/gtest.h>

#include <random>

#include "arch/families.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/model_file.h"
#include "formats/safetensors_writer.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::TempDir;

class Checkpoint {
 public:
  explicit Checkpoint(const TempDir& folder) : path_(folder / "model") {
    arch::Architecture a = synth_preset("bitnet-tiny");
    a.n_layers = 2, a.width = 64, a.ffn_width = 96, a.n_heads = 4, a.n_kv_heads = 2;
    a.head_dim = a.v_head_dim = a.rotary_dim = 16, a.vocab_size = 300, a.context_length = 64;
    synthesize(a, path_, {.codec = "F16"});
    plain_ = load_model(path_);
    config_ = parse_json(read_file(path_ / "config.json"), "config.json");
  }

  // `damage` may change the bytes and the scale of a linear.
  void write(const Json& quantization, const std::function<void(std::string&, float&)>& damage = {}) {
    std::vector<SafetensorsItem> items;
    const auto add = [&](const std::string& name, DType dtype, const Shape& shape, std::string bytes) {
      items.push_back({name, dtype, shape, [bytes = std::move(bytes)](AtomicFile& file) { file.write(bytes); }, 0});
    };
    const arch::Family& family = arch::family_named("bitnet", "test");
    std::mt19937 random(1);
    for (const auto& [name, tensor] : plain_.weights.all()) {
      const std::string hf = arch::hf_name(family, name);
      if (tensor.shape.rank() < 2 || !name.starts_with("blk.")) {
        add(hf, tensor.codec->name() == "F16" ? DType::kF16 : DType::kF32, tensor.shape,
            std::string(tensor.parts[0].data.text()));
        continue;
      }
      const std::uint64_t out = tensor.shape[0], in = tensor.shape[1];
      std::vector<int>& weights = ternary[name];
      for (std::uint64_t i = 0; i < out * in; ++i) weights.push_back(static_cast<int>(random() % 3) - 1);
      std::string packed(out / 4 * in, '\0');
      for (std::uint64_t row = 0; row < out; ++row) {
        for (std::uint64_t col = 0; col < in; ++col) {
          const std::uint64_t quarter = row / (out / 4), at = row % (out / 4) * in + col;
          packed[at] = static_cast<char>(static_cast<unsigned char>(packed[at]) |
                                         static_cast<unsigned>(weights[row * in + col] + 1) << (2 * quarter));
        }
      }
      float scale = 0.5f + 0.125f * static_cast<float>(random() % 8);
      scales[name] = scale;
      if (damage && name == "blk.1.ffn_up.weight") damage(packed, scale);
      add(hf, DType::kU8, Shape{packed.size() / in, in}, packed);
      add(hf + "_scale", DType::kF32, Shape{1}, std::string(reinterpret_cast<const char*>(&scale), sizeof scale));
    }
    write_safetensors(path_ / "model.safetensors", items, {{"format", "pt"}});
    Json config = config_;
    config["quantization_config"] = quantization;
    AtomicFile file(path_ / "config.json");
    file.write(config.dump());
    file.commit();
  }
  const std::filesystem::path& path() const { return path_; }

  std::map<std::string, std::vector<int>> ternary;
  std::map<std::string, float> scales;

 private:
  std::filesystem::path path_;
  ModelFile plain_;
  Json config_;
};

Json settings(const char* linear_class) {
  return {{"quant_method", "bitnet"}, {"linear_class", linear_class}, {"quantization_mode", "offline"}};
}

TEST(HfBitnet, TernaryWeightsAreReadExactly) {
  for (const bool divides : {false, true}) {
    const TempDir folder;
    Checkpoint checkpoint(folder);
    checkpoint.write(settings(divides ? "bitlinear" : "autobitlinear"));
    const ModelFile model = load_model(checkpoint.path());
    EXPECT_EQ(model.architecture.family, "bitnet");
    EXPECT_TRUE(model.architecture.sub_norms);
    EXPECT_EQ(model.architecture.activation, ActivationKind::kRelu2);
    ASSERT_EQ(checkpoint.ternary.size(), 14u);
    LoadOptions table;
    table.weights = false;
    const ModelFile shapes = load_model(checkpoint.path(), table);
    for (const auto& [name, weights] : checkpoint.ternary) {
      const PackedTensor& tensor = model.weights.at(name);
      EXPECT_EQ(tensor.codec->name(), "INT_SYM");
      EXPECT_EQ(tensor.params, (CodecParams{2, 0}));
      EXPECT_EQ(shapes.weights.at(name).shape, tensor.shape);
      // A reciprocal is rounded to half precision.
      const float stored = checkpoint.scales[name], scale = divides ? 1 / stored : stored;
      const std::vector<float> values = tensor.to_floats();
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_NEAR(values[i], scale * static_cast<float>(weights[i]), divides ? scale * 0x1p-11f : 0) << name << i;
      }
    }
    save_model(model, folder / "m.lathe");
    EXPECT_EQ(load_model(folder / "m.lathe").weights.at("blk.1.ffn_down.weight").to_floats(),
              model.weights.at("blk.1.ffn_down.weight").to_floats());
  }
}

std::string failure(const std::filesystem::path& path) {
  try {
    load_model(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(HfBitnet, DamageIsAnErrorThatNamesTheLinear) {
  const TempDir folder;
  Checkpoint checkpoint(folder);
  const auto expect = [&](const char* words, const std::function<void(std::string&, float&)>& damage) {
    checkpoint.write(settings("autobitlinear"), damage);
    EXPECT_NE(failure(checkpoint.path()).find(words), std::string::npos) << failure(checkpoint.path());
    EXPECT_NE(failure(checkpoint.path()).find("layers.1.mlp.up_proj"), std::string::npos);
  };
  expect("not ternary", [](std::string& packed, float&) { packed[7] = '\xff'; });
  expect("its scale is", [](std::string&, float& scale) { scale = NAN; });
  expect("its scale is", [](std::string&, float& scale) { scale = 0; });
  expect("half-precision", [](std::string&, float& scale) { scale = 1e30f; });
  checkpoint.write(settings("autobitlinear"), [](std::string& packed, float&) { packed.resize(packed.size() / 2); });
  EXPECT_NE(failure(checkpoint.path()).find("ffn_up"), std::string::npos) << failure(checkpoint.path());
  checkpoint.write({{"quant_method", "bitnet"}, {"quantization_mode", "online"}});
  EXPECT_NE(failure(checkpoint.path()).find("packed weights"), std::string::npos) << failure(checkpoint.path());
}

}  // namespace
}  // namespace lathe::formats
