// Mixes of codecs: the codec of every tensor against what another implementation's quantizer chose for the same shapes,
// and files written with a mix.
#include "arch/codec_mix.h"

#include <gtest/gtest.h>

#include <charconv>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_file.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using test::TempDir;

// Codecs by module, those of its layers in order, once where they are all the same: {"attn_v", "Q5_K Q5_K Q4_K"}.
using ByModule = std::map<std::string, std::string>;

ByModule by_module(const arch::CodecMix& mix, const Architecture& a) {
  std::map<std::string, std::map<std::uint32_t, std::string>> layers;
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) {
    if (spec.shape.rank() < 2) continue;
    std::string module = spec.name.substr(0, spec.name.rfind(".weight"));
    std::uint32_t layer = 0;
    if (module.starts_with("blk.")) {
      std::from_chars(module.data() + 4, module.data() + module.size(), layer);
      module = module.substr(module.find('.', 4) + 1);
      module = module.substr(0, module.find('.'));  // experts and heads share a tensor in the file
    }
    const std::string codec(arch::codec_in_mix(mix, a, spec.name, spec.shape.cols()).name());
    EXPECT_EQ(layers[module].try_emplace(layer, codec).first->second, codec) << spec.name;
  }
  layers.erase("ffn_gate_inp_shexp");  // a vector in the file
  ByModule result;
  for (const auto& [module, codecs] : layers) {
    std::string text;
    bool same = true;
    for (const auto& [layer, codec] : codecs) {
      text += (text.empty() ? "" : " ") + codec;
      same = same && codec == codecs.begin()->second;
    }
    result[module] = same ? codecs.begin()->second : text;
  }
  return result;
}

Architecture shape_of(const Json& shape, Architecture a) {
  const auto size = [&](const char* key, std::uint32_t& field) { field = shape.value(key, field); };
  size("layers", a.n_layers);
  size("width", a.width);
  size("heads", a.n_heads);
  size("kv_heads", a.n_kv_heads);
  size("ffn", a.ffn_width);
  if (shape.contains("width")) a.head_dim = a.v_head_dim = a.rotary_dim = a.width / a.n_heads;
  return a;
}

TEST(CodecMix, ChoosesWhatThePeerChooses) {
  const std::string path = test::golden("golden/peer/mixes.json").string();
  const Json recorded = parse_json(read_file(path), path);
  ASSERT_GE(recorded.at("cases").size(), 10u);
  for (const Json& model : recorded.at("cases")) {
    const Architecture a = shape_of(model.at("shape"), synth_preset(model.at("preset").get<std::string>()));
    ASSERT_EQ(model.at("mixes").size(), arch::codec_mixes().size());
    for (const Json& entry : model.at("mixes")) {
      const arch::CodecMix* mix = arch::find_codec_mix(entry.at("mix").get<std::string>());
      ASSERT_NE(mix, nullptr);
      EXPECT_EQ(mix->file_type, entry.at("file_type").get<std::uint32_t>());
      EXPECT_EQ(by_module(*mix, a), entry.at("tensors").get<ByModule>()) << model.at("preset") << " " << mix->name;
    }
  }
}

void expect_mix(const ModelFile& model, const arch::CodecMix& mix) {
  for (const auto& [name, tensor] : model.weights.all()) {
    const Codec& expected = tensor.shape.rank() < 2
                                ? codec_named("F32")
                                : arch::codec_in_mix(mix, model.architecture, name, tensor.shape.cols());
    EXPECT_EQ(tensor.codec->name(), expected.name()) << name;
  }
  EXPECT_EQ(model.metadata.integer("general.file_type"), mix.file_type);
  EXPECT_EQ(model.metadata.integer("general.quantization_version"), 2);
}

TEST(CodecMix, FilesAreReadBackAsWritten) {
  const TempDir folder;
  for (const char* preset : {"llama-tiny", "gemma-tiny", "mixtral-tiny", "flan-t5-tiny"}) {
    const Architecture a = synth_preset(preset);
    synthesize(a, folder / "plain.gguf", {.codec = "F32"});
    const ModelFile plain = load_model(folder / "plain.gguf");
    for (const char* name : {"Q2_K_M", "Q4_K_M", "Q6_K_M"}) {
      const arch::CodecMix& mix = *arch::find_codec_mix(name);
      synthesize(a, folder / "made.gguf", {.codec = name});
      expect_mix(load_model(folder / "made.gguf"), mix);
      save_model(plain, folder / "converted.gguf", {.dtype = name});
      const ModelFile converted = load_model(folder / "converted.gguf");
      expect_mix(converted, mix);
      // What was rounded is near what it was.
      const std::string value = a.encoder.n_layers > 0 ? "dec.blk.0.attn_v.weight" : "blk.0.attn_v.weight";
      const std::vector<float> before = plain.weights.at(value).to_floats(),
                               after = converted.weights.at(value).to_floats();
      double error = 0, energy = 0;
      for (std::size_t i = 0; i < before.size(); ++i) {
        error += (double{before[i]} - after[i]) * (double{before[i]} - after[i]);
        energy += double{before[i]} * before[i];
      }
      EXPECT_LT(error, 0.05 * energy) << preset << " " << name;
      EXPECT_GT(error, 0) << preset << " " << name;
    }
  }
}

TEST(CodecMix, RefusesFilesThatCannotHoldIt) {
  const TempDir folder;
  synthesize(synth_preset("llama-tiny"), folder / "plain.gguf", {.codec = "F32"});
  EXPECT_THROW(save_model(load_model(folder / "plain.gguf"), folder / "folder", {.dtype = "Q4_K_M"}), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "folder"));
}

}  // namespace
}  // namespace lathe::formats
