// Folders of sentence encoders: what they say about pooling, and how checkpoints spell the tensors.
#include "formats/sentence_folder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "arch/families.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/hf_weights.h"
#include "formats/model_file.h"
#include "formats/safetensors_reader.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

class SentenceFolder : public testing::Test {
 protected:
  void SetUp() override {
    arch::Architecture a = synth_preset("bert-tiny");
    a.vocab_size = 600;
    synthesize(a, folder_ / "hf", {.codec = "F32"});
  }
  void write(const std::string& name, const std::string& text) { write_file(folder_ / "hf" / name, text); }
  arch::Architecture architecture() { return load_model(folder_ / "hf").architecture; }
  std::string refusal() {
    try {
      architecture();
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }
  test::TempDir folder_;
};

TEST_F(SentenceFolder, SaysHowATextBecomesOneVector) {
  EXPECT_EQ(architecture().pooling, PoolingKind::kMean);
  EXPECT_FALSE(architecture().unit_vectors);
  ModelFile model = load_model(folder_ / "hf");
  model.architecture.pooling = PoolingKind::kCls;
  model.architecture.unit_vectors = true;
  for (const char* name : {"again", "again.lathe", "again.safetensors"}) {
    save_model(model, folder_ / name);
    const ModelFile again = load_model(folder_ / name);
    EXPECT_EQ(again.architecture.pooling, PoolingKind::kCls) << name;
    EXPECT_TRUE(again.architecture.unit_vectors) << name;
  }
  save_model(model, folder_ / "again.gguf");  // which has no word for unit length
  EXPECT_EQ(load_model(folder_ / "again.gguf").architecture.pooling, PoolingKind::kCls);
  std::string bytes = read_file(folder_ / "again.gguf");
  constexpr std::string_view kKey = "pooling_type";
  bytes.at(bytes.find(kKey) + kKey.size() + 4) = 4;  // llama.cpp's ranking, behind the type of the value
  write_file(folder_ / "ranking.gguf", bytes);
  try {
    load_model(folder_ / "ranking.gguf");
    FAIL() << "a ranking model loads";
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("pooling_type\" is 4"), std::string_view::npos) << error.what();
  }
}

// Files of both ages: the older ones lack some of the modes.
TEST_F(SentenceFolder, IsReadAsPublishedModelsSpellIt) {
  write("modules.json", R"([{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
{"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}])");
  write("1_Pooling/config.json",
        R"({"word_embedding_dimension":256,"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false,
"pooling_mode_max_tokens":false,"pooling_mode_mean_sqrt_len_tokens":false})");
  EXPECT_EQ(architecture().pooling, PoolingKind::kCls);
  EXPECT_TRUE(architecture().unit_vectors);
}

TEST_F(SentenceFolder, IsRefusedWhenItAsksForMore) {
  write("1_Pooling/config.json", R"({"pooling_mode_max_tokens":true})");
  EXPECT_NE(refusal().find("pooling_mode_max_tokens"), std::string::npos) << refusal();
  write("1_Pooling/config.json", R"({"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true})");
  EXPECT_NE(refusal().find("side by side"), std::string::npos) << refusal();
  write("1_Pooling/config.json", "[]");
  EXPECT_NE(refusal().find("1_Pooling/config.json"), std::string::npos) << refusal();
  write("modules.json", R"([{"path":"2_Dense","type":"sentence_transformers.models.Dense"}])");
  EXPECT_NE(refusal().find("Dense"), std::string::npos) << refusal();
  write("modules.json", R"([{"path":"../other","type":"sentence_transformers.models.Pooling"}])");
  EXPECT_NE(refusal().find("not a folder inside"), std::string::npos) << refusal();
  write("modules.json", R"({"path":"1_Pooling"})");
  EXPECT_NE(refusal().find("not a list"), std::string::npos) << refusal();
}

TEST(EncoderNames, OfEveryAge) {
  const arch::Family& bert = arch::family_named("bert", "test");
  EXPECT_EQ(hf_canonical_name(bert, "bert.embeddings.LayerNorm.gamma"), "token_embd_norm.weight");
  EXPECT_EQ(hf_canonical_name(bert, "encoder.layer.3.output.LayerNorm.bias"), "blk.3.layer_output_norm.bias");
  EXPECT_EQ(hf_canonical_name(bert, "encoder.layer.11.attention.self.key.weight"), "blk.11.attn_k.weight");
  EXPECT_EQ(hf_canonical_name(bert, "pooler.dense.weight"), "");
}

// RoBERTa's checkpoints begin with two positions that no token has.
TEST(Roberta, KeepsItsPositionsFromTheThirdRow) {
  const test::TempDir folder;
  arch::Architecture a = synth_preset("roberta-tiny");
  a.vocab_size = 600, a.context_length = 64;
  synthesize(a, folder / "a.gguf", {.codec = "F32"});
  const ModelFile model = load_model(folder / "a.gguf");
  ASSERT_EQ(model.architecture.family, "roberta");
  save_model(model, folder / "hf");
  const Bytes bytes = map_file(folder / "hf/model.safetensors");
  const SafetensorsFile file = read_safetensors_header(bytes);
  const auto entry = std::find_if(file.tensors.begin(), file.tensors.end(), [](const SafetensorsEntry& tensor) {
    return tensor.name == "roberta.embeddings.position_embeddings.weight";
  });
  ASSERT_NE(entry, file.tensors.end());
  const std::vector<float> table = safetensors_tensor(bytes, file, *entry, true).to_floats();
  ASSERT_EQ(table.size(), std::size_t{66} * a.width);
  const std::vector<float> positions = model.weights.at("position_embd.weight").to_floats();
  EXPECT_TRUE(std::equal(positions.begin(), positions.end(), table.begin() + 2 * a.width));
}

}  // namespace
}  // namespace lathe::formats
