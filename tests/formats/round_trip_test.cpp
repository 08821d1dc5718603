// A model written and read again, through every layout and every chain of layouts, must be the same model.
#include <gtest/gtest.h>

#include <cstring>

#include "base/file.h"
#include "formats/gguf_reader.h"
#include "formats/model_file.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::shared;
using test::TempDir;

void expect_same_tensors(const ModelFile& a, const ModelFile& b) {
  ASSERT_EQ(a.weights.all().size(), b.weights.all().size());
  for (const auto& [name, tensor] : a.weights.all()) {
    const PackedTensor& other = b.weights.at(name);
    ASSERT_EQ(tensor.codec, other.codec) << name;
    ASSERT_EQ(tensor.params, other.params) << name;
    ASSERT_EQ(tensor.shape, other.shape) << name;
    ASSERT_EQ(tensor.parts.size(), other.parts.size()) << name;
    for (std::size_t i = 0; i < tensor.parts.size(); ++i) {
      ASSERT_EQ(tensor.parts[i].spec.name, other.parts[i].spec.name) << name;
      ASSERT_EQ(tensor.parts[i].data.text(), other.parts[i].data.text()) << name;
    }
  }
}

void expect_same_tokenizer(const ModelFile& a, const ModelFile& b) {
  ASSERT_EQ(a.tokenizer == nullptr, b.tokenizer == nullptr);
  if (a.tokenizer == nullptr) return;
  EXPECT_EQ(a.tokenizer->size(), b.tokenizer->size());
  for (const char* text : {"Once upon a time, there was a girl.", "  two  spaces\n\nand lines",
                           "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80", "CC(=O)Oc1", ""}) {
    EXPECT_EQ(a.tokenizer->encode(text), b.tokenizer->encode(text)) << text;
  }
  EXPECT_EQ(a.tokenizer->special().bos, b.tokenizer->special().bos);
  EXPECT_EQ(a.tokenizer->special().eos, b.tokenizer->special().eos);
}

void expect_same_model(const ModelFile& a, const ModelFile& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(a.chat_template, b.chat_template);
  expect_same_tensors(a, b);
  expect_same_tokenizer(a, b);
}

ModelFile through(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options = {}) {
  save_model(model, path, options);
  return load_model(path);
}

class ModelRoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(ModelRoundTrip, ThroughEveryLayoutIsLossless) {
  LATHE_NEED_SHARED(GetParam());
  const TempDir folder;
  const ModelFile original = load_model(shared(GetParam()));
  const ModelFile first = through(original, folder / "a.gguf");
  const ModelFile lathe = through(first, folder / "b.lathe");
  const ModelFile second = through(lathe, folder / "c.gguf");
  const ModelFile hugging_face = through(second, folder / "hf");
  const ModelFile third = through(hugging_face, folder / "d.gguf");
  const ModelFile single = through(hugging_face, folder / "e.safetensors");
  const ModelFile last = through(single, folder / "f.gguf");
  EXPECT_EQ(lathe.kind, FileKind::kLathe);
  EXPECT_EQ(hugging_face.kind, FileKind::kHfFolder);
  EXPECT_EQ(single.kind, FileKind::kSafetensors);
  for (const ModelFile* model : {&lathe, &second, &third, &last}) expect_same_model(first, *model);
  expect_same_model(hugging_face, single);
  expect_same_tokenizer(original, last);
}

INSTANTIATE_TEST_SUITE_P(Models, ModelRoundTrip,
                         testing::Values("models/stories260K/stories260K.gguf",
                                         "models/stories3M-q80/stories3M-f16.gguf",
                                         "models/stories260K/stories260K.bin", "models/zh-poem/poem_model.bin",
                                         "models/gpt-nano-sort/gpt-nano-sort-model.json"),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : std::string(info.param))
                             name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(RoundTripGguf, KeepsMetadataAndBytes) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-f16.gguf");
  const TempDir folder;
  const Bytes before = map_file(shared("models/stories3M-q80/stories3M-f16.gguf"));
  save_model(load_model(shared("models/stories3M-q80/stories3M-f16.gguf")), folder / "copy.gguf");
  const Bytes after = map_file(folder / "copy.gguf");
  const GgufFile a = read_gguf_header(before), b = read_gguf_header(after);
  ASSERT_EQ(a.metadata.items().size(), b.metadata.items().size());
  for (const auto& [key, value] : a.metadata.items()) {
    const MetaValue* copy = b.metadata.find(key);
    ASSERT_NE(copy, nullptr) << key;
    EXPECT_EQ(copy->type, value.type) << key;
    EXPECT_EQ(copy->is_array, value.is_array) << key;
    if (const auto* bytes = std::get_if<Bytes>(&value.value)) {
      EXPECT_EQ(bytes->text(), std::get<Bytes>(copy->value).text()) << key;
    }
    if (const auto* strings = std::get_if<std::vector<std::string>>(&value.value)) {
      EXPECT_EQ(*strings, std::get<std::vector<std::string>>(copy->value)) << key;
    }
  }
}

TEST(RoundTripGguf, SplitFilesJoinFromAnyPart) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const TempDir folder;
  const ModelFile model = load_model(shared("models/stories260K/stories260K.gguf"));
  save_model(model, folder / "m.gguf", {.split_bytes = 200'000});
  ASSERT_FALSE(std::filesystem::exists(folder / "m.gguf"));
  std::size_t n_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++n_files;
  ASSERT_GT(n_files, 4u);
  const auto part = [&](std::uint32_t i) {
    return folder / split_name("m", i, static_cast<std::uint32_t>(n_files), ".gguf");
  };
  expect_same_model(model, load_model(part(1)));
  expect_same_model(model, load_model(part(3)));
  expect_same_model(model, load_model(folder.path()));
  std::filesystem::remove(part(2));
  EXPECT_THROW(load_model(part(1)), Error);
}

TEST(RoundTripHuggingFace, ShardsJoin) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const TempDir folder;
  const ModelFile model = load_model(shared("models/stories260K/stories260K.gguf"));
  save_model(model, folder / "one");
  save_model(model, folder / "many", {.split_bytes = 300'000});
  EXPECT_TRUE(std::filesystem::exists(folder / "many/model.safetensors.index.json"));
  expect_same_model(load_model(folder / "one"), load_model(folder / "many"));
}

// This tokenizer matches the longest piece, which a tokenizer.json made from other sources cannot say.
TEST(RoundTripHuggingFace, Gpt2ThroughGgufAndLathe) {
  LATHE_NEED_SHARED("models/smiles-gpt2_0.5m");
  const TempDir folder;
  const ModelFile original = load_model(shared("models/smiles-gpt2_0.5m"));
  const ModelFile lathe = through(original, folder / "a.lathe");
  expect_same_model(original, lathe);
  ModelFile gguf = through(lathe, folder / "b.gguf");
  EXPECT_EQ(gguf.architecture.rope_layout, RopeLayout::kHalves);
  expect_same_model(lathe, gguf);
  expect_same_model(original, through(original, folder / "hf"));
}

TEST(RoundTripHuggingFace, CopiesTheTextFilesOfAFolder) {
  LATHE_NEED_SHARED("models/smiles-gpt2_0.5m");
  const TempDir folder;
  save_model(load_model(shared("models/smiles-gpt2_0.5m")), folder / "copy");
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    EXPECT_EQ(read_file(folder.path() / "copy" / name), read_file(shared("models/smiles-gpt2_0.5m") / name)) << name;
  }
}

TEST(RoundTripRope, HalvesAndInterleavedRowsAreTheSameRotation) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const TempDir folder;
  const ModelFile interleaved = load_model(shared("models/stories260K/stories260K.gguf"));
  const ModelFile halves = through(interleaved, folder / "hf");
  EXPECT_EQ(halves.architecture.rope_layout, RopeLayout::kHalves);
  const std::vector<float> a = interleaved.weights.at("blk.0.attn_k.weight").to_floats();
  const std::vector<float> b = halves.weights.at("blk.0.attn_k.weight").to_floats();
  const std::uint64_t head_dim = 8, width = 64, n_heads = 4;
  for (std::uint64_t head = 0; head < n_heads; ++head) {
    for (std::uint64_t pair = 0; pair < head_dim / 2; ++pair) {
      for (std::uint64_t member = 0; member < 2; ++member) {
        const std::uint64_t from = head * head_dim + 2 * pair + member,
                            to = head * head_dim + pair + member * head_dim / 2;
        EXPECT_EQ(std::memcmp(&a[from * width], &b[to * width], width * sizeof(float)), 0);
      }
    }
  }
}

TEST(SaveModel, ConvertsMatricesAndKeepsNorms) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-f16.gguf");
  const TempDir folder;
  const ModelFile model = load_model(shared("models/stories3M-q80/stories3M-f16.gguf"));
  const ModelFile q8 = through(model, folder / "q8.gguf", {.dtype = "q8_0"});
  EXPECT_EQ(q8.weights.at("blk.1.ffn_down.weight").codec->name(), "Q8_0");
  EXPECT_EQ(q8.weights.at("blk.1.ffn_norm.weight").codec->name(), "F32");
  EXPECT_EQ(q8.metadata.integer("general.file_type"), 7);
  const auto expected = model.weights.at("blk.1.ffn_down.weight").to_floats(),
             got = q8.weights.at("blk.1.ffn_down.weight").to_floats();
  for (std::size_t i = 0; i < got.size(); i += 32) {
    float largest = 0;
    for (std::size_t j = i; j < i + 32; ++j) largest = std::max(largest, std::abs(expected[j]));
    for (std::size_t j = i; j < i + 32; ++j) EXPECT_NEAR(got[j], expected[j], largest / 127 * 0.57f);
  }
  // Block codecs have no dtype in safetensors: an Error that says what to do, unless a dtype is chosen.
  EXPECT_THROW(save_model(q8, folder / "hf"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "hf"));
  EXPECT_EQ(through(q8, folder / "hf", {.dtype = "BF16"}).weights.at("token_embd.weight").codec->name(), "BF16");
  expect_same_tensors(q8, through(q8, folder / "q8.lathe"));
}

TEST(SaveModel, VocabularyIsPaddedToTheEmbedding) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.bin");
  const TempDir folder;
  const ModelFile model = load_model(shared("models/stories260K/stories260K.bin"));
  ModelFile larger = model;
  larger.architecture.vocab_size = 520;
  std::vector<float> rows = model.weights.at("token_embd.weight").to_floats();
  rows.resize(520 * 64);
  larger.weights.remove("token_embd.weight");
  larger.weights.add(pack("token_embd.weight", codec_named("F32"), Shape{520, 64}, rows));
  const ModelFile again = through(larger, folder / "m.gguf");
  EXPECT_EQ(again.tokenizer->size(), 520u);
  EXPECT_EQ(again.tokenizer->kind(519), text::TokenKind::kUnused);
  EXPECT_EQ(again.tokenizer->encode("Once upon a [PAD519]"), model.tokenizer->encode("Once upon a [PAD519]"));
}

TEST(SaveModel, RefusesSurprisingTargets) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const TempDir folder;
  const ModelFile model = load_model(shared("models/stories260K/stories260K.gguf"));
  EXPECT_THROW(save_model(model, folder / "model.bin"), Error);
  EXPECT_THROW(save_model(model, ""), Error);
  EXPECT_THROW(save_model(model, folder / "missing/folder/model.gguf"), Error);
  EXPECT_THROW(save_model(model, folder / "a.gguf", {.dtype = "Q9_9"}), Error);
  write_file(folder / "precious.txt", "mine");
  EXPECT_THROW(save_model(model, folder.path()), Error);
  EXPECT_EQ(read_file(folder / "precious.txt"), "mine");
}

}  // namespace
}  // namespace lathe::formats
