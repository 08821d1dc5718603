// Facts of single layouts: llama2.c versions, minGPT JSON, Hugging Face names, and that loading leaves weights on disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_file.h"
#include "formats/safetensors_writer.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::shared;
using test::TempDir;

// Largest difference relative to the largest value.
double difference(const PackedTensor& a, const PackedTensor& b) {
  const std::vector<float> x = a.to_floats(), y = b.to_floats();
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(double{x[i]}));
    worst = std::max(worst, std::abs(double{x[i]} - y[i]));
  }
  return worst / largest;
}

TEST(Llama2c, Int8GroupsAreTheFloatModel) {
  LATHE_NEED_SHARED("models/stories260K/stories260K-q8.bin");
  const ModelFile floats = load_model(shared("models/stories260K/stories260K.bin"));
  const ModelFile groups = load_model(shared("models/stories260K/stories260K-q8.bin"));
  EXPECT_EQ(groups.architecture, floats.architecture);
  ASSERT_NE(groups.tokenizer, nullptr);
  for (const auto& [name, tensor] : groups.weights.all()) {
    EXPECT_LT(difference(floats.weights.at(name), tensor), 0.5 / 127 * 1.01) << name;
    if (tensor.shape.rank() == 2) {
      EXPECT_EQ(tensor.codec->name(), "I8_GROUP");
      // Rows of 172 do not divide into groups of 8: theirs are split where rows end.
      EXPECT_EQ(tensor.params.group_size, tensor.shape.cols() % 8 == 0 ? 8 : 4);
    }
  }
}

TEST(Llama2c, Int8GroupsThroughLathe) {
  LATHE_NEED_SHARED("models/stories3M-q80/stories3M-q80.bin");
  const TempDir folder;
  const ModelFile groups = load_model(shared("models/stories3M-q80/stories3M-q80.bin"));
  const ModelFile half = load_model(shared("models/stories3M-q80/stories3M-f16.gguf"));
  EXPECT_LT(difference(half.weights.at("blk.2.ffn_down.weight"), groups.weights.at("blk.2.ffn_down.weight")), 0.01);
  save_model(groups, folder / "m.lathe");
  const ModelFile again = load_model(folder / "m.lathe");
  EXPECT_EQ(again.architecture, groups.architecture);
  for (const auto& [name, tensor] : groups.weights.all()) {
    const PackedTensor& copy = again.weights.at(name);
    ASSERT_EQ(copy.parts.size(), tensor.parts.size());
    for (std::size_t i = 0; i < tensor.parts.size(); ++i)
      EXPECT_EQ(copy.parts[i].data.text(), tensor.parts[i].data.text()) << name;
  }
  EXPECT_EQ(again.tokenizer->encode("Once upon a time"), groups.tokenizer->encode("Once upon a time"));
  // GGUF cannot say the codec: an Error, and a conversion when one is asked for.
  EXPECT_THROW(save_model(groups, folder / "m.gguf"), Error);
  save_model(groups, folder / "m.gguf", {.dtype = "Q8_0"});
  EXPECT_LT(difference(groups.weights.at("blk.0.attn_q.weight"),
                       load_model(folder / "m.gguf").weights.at("blk.0.attn_q.weight")),
            0.01);
}

std::string floats(std::size_t count, float first) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = first + static_cast<float>(i);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return out;
}

TEST(Llama2c, ANegativeVocabularyMeansAnOutputHead) {
  const std::int32_t header[] = {4, 6, 1, 2, 1, -5, 3};  // width, ffn, layers, heads, KV heads, vocabulary, context
  std::string bytes(reinterpret_cast<const char*>(header), sizeof header);
  // Embedding; norms, q, k, v, o, gate, down and up of the layer; final norm; rotary tables; head.
  const std::size_t before = 5 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 24 + 24 + 24 + 4 + 3 * 2;
  bytes += floats(before + 20, 0);
  const ModelFile model = load_model(Bytes::copy_of(bytes, "untied.bin"));
  EXPECT_FALSE(model.architecture.tied_embeddings);
  EXPECT_EQ(model.architecture.vocab_size, 5u);
  EXPECT_EQ(model.weights.at("token_embd.weight").to_floats()[0], 0.0f);
  EXPECT_EQ(model.weights.at("blk.0.ffn_down.weight").shape, (Shape{4, 6}));
  EXPECT_EQ(model.weights.at("blk.0.ffn_down.weight").to_floats()[0],
            static_cast<float>(5 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 24));
  EXPECT_EQ(model.weights.at("output.weight").to_floats()[0], static_cast<float>(before));
}

TEST(Llama2c, SeveralFittingTokenizersAreAQuestion) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.bin");
  const TempDir folder;
  const auto copy = [&](const char* from, const char* to) { std::filesystem::copy_file(shared(from), folder / to); };
  copy("models/stories260K/stories260K.bin", "model.bin");
  EXPECT_EQ(load_model(folder / "model.bin").tokenizer, nullptr);
  copy("models/stories3M-q80/tok4096.bin", "tok4096.bin");
  EXPECT_EQ(load_model(folder / "model.bin").tokenizer, nullptr);
  copy("models/stories260K/tok512.bin", "tok512.bin");
  EXPECT_NE(load_model(folder / "model.bin").tokenizer, nullptr);
  copy("models/stories260K/tok512.bin", "tok_other.bin");
  EXPECT_THROW(load_model(folder / "model.bin"), Error);
  EXPECT_NE(load_model(folder / "model.bin", {.tokenizer = folder / "tok512.bin"}).tokenizer, nullptr);
}

TEST(JsonTensors, ReadsGptNano) {
  LATHE_NEED_SHARED("models/gpt-nano-sort/gpt-nano-sort-model.json");
  const ModelFile model = load_model(shared("models/gpt-nano-sort/gpt-nano-sort-model.json"));
  EXPECT_EQ(model.kind, FileKind::kJsonTensors);
  EXPECT_EQ(model.architecture.family, "gpt2");
  EXPECT_EQ(model.architecture.n_layers, 3u);
  EXPECT_EQ(model.architecture.ffn_width, 192u);
  EXPECT_FALSE(model.architecture.tied_embeddings);
  EXPECT_EQ(model.tokenizer, nullptr);
  // The first four bytes of the file's base64 ("wBt1Pc3e") are c0 1b 75 3d.
  EXPECT_FLOAT_EQ(model.weights.at("token_embd.weight").to_floats()[0], std::bit_cast<float>(0x3d751bc0u));
}

TEST(HuggingFace, Conv1dIsTurnedToOutByIn) {
  LATHE_NEED_SHARED("models/smiles-gpt2_0.5m");
  const ModelFile model = load_model(shared("models/smiles-gpt2_0.5m"));
  EXPECT_EQ(model.weights.at("blk.0.attn_qkv.weight").shape, (Shape{288, 96}));
  // In the file: transformer.h.0.attn.c_attn.weight, [96, 288] at byte 1152 of the data.
  const Bytes file = map_file(shared("models/smiles-gpt2_0.5m") / "model.safetensors");
  ByteReader reader(file);
  const auto header = reader.read<std::uint64_t>("header");
  const std::vector<float> ours = model.weights.at("blk.0.attn_qkv.weight").to_floats();
  for (const auto& [in, out] : {std::pair{0u, 0u}, {5u, 200u}, {95u, 287u}}) {
    ByteReader at(file.slice(8 + header + 1152 + 4 * (in * 288 + out), 4, "a weight"));
    EXPECT_EQ(ours[out * 96 + in], at.read<float>("a weight"));
  }
}

// A base checkpoint: no "transformer." prefix, mask buffers, and a copy of the tied head.
TEST(HuggingFace, PrefixBuffersAndTiedHead) {
  const TempDir folder;
  synthesize(synth_preset("gpt2-tiny"), folder / "with", {.codec = "F32"});
  const ModelFile model = load_model(folder / "with");
  std::vector<SafetensorsItem> items;
  const Bytes file = map_file(folder.path() / "with/model.safetensors");
  const auto size = ByteReader(file).read<std::uint64_t>("header");
  const Json header = parse_json(file.slice(8, size, "header").text(), "header");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const auto begin = entry["data_offsets"][0].get<std::uint64_t>(),
               end = entry["data_offsets"][1].get<std::uint64_t>();
    const Bytes data = file.slice(8 + size + begin, end - begin, name);
    const auto extents = entry["shape"].get<std::vector<std::uint64_t>>();
    items.push_back({name.substr(name.find('.') + 1), DType::kF32, Shape::of(extents, name),
                     [data](AtomicFile& out) { out.write(data.span()); }, 0});
    if (name == "transformer.wte.weight") {
      items.push_back(items.back());
      items.back().name = "lm_head.weight";
    }
  }
  const std::string ones = floats(64, 1);
  items.push_back({"h.0.attn.bias", DType::kF32, Shape{1, 1, 8, 8}, [ones](AtomicFile& out) { out.write(ones); }, 0});
  items.push_back({"h.0.attn.masked_bias", DType::kF32, Shape{},
                   [ones](AtomicFile& out) { out.write(std::string_view(ones).substr(0, 4)); }, 0});
  std::filesystem::create_directory(folder / "without");
  write_safetensors(folder.path() / "without/model.safetensors", items, {});
  std::filesystem::copy_file(folder.path() / "with/config.json", folder.path() / "without/config.json");
  const ModelFile other = load_model(folder / "without");
  EXPECT_EQ(other.architecture, model.architecture);
  ASSERT_EQ(other.weights.all().size(), model.weights.all().size());
  for (const auto& [name, tensor] : model.weights.all())
    EXPECT_EQ(other.weights.at(name).to_floats(), tensor.to_floats()) << name;
}

// Resident bytes of the mapping of `path` in this process.
std::uint64_t resident(const std::filesystem::path& path) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  std::uint64_t total = 0;
  while (std::getline(smaps, line)) {
    if (line.find(path.string()) != std::string::npos) inside = true;
    if (inside && line.starts_with("Rss:")) {
      total += std::stoull(line.substr(4)) * 1024;
      inside = false;
    }
  }
  return total;
}

TEST(LoadModel, LeavesWeightsOnDisk) {
  const TempDir folder;
  arch::Architecture a = synth_preset("llama-tiny");
  a.width = 512;
  a.ffn_width = 2048;
  a.head_dim = a.v_head_dim = a.rotary_dim = 64;
  for (const char* name : {"m.gguf", "m.lathe"}) {
    const auto path = folder / name;
    synthesize(a, path, {.codec = "F16"});
    const ModelFile model = load_model(path);
    EXPECT_GT(model.weights.bytes(), 30'000'000u);
    // The kernel maps some pages around those that are read.
    EXPECT_LT(resident(path), 3'000'000u) << name;
  }
}

TEST(LoadModel, WithoutWeightsGivesTheTable) {
  LATHE_NEED_SHARED("models/stories260K/stories260K.gguf");
  const std::string whole = read_file(shared("models/stories260K/stories260K.gguf"));
  const ModelFile model =
      load_model(Bytes::copy_of(std::string_view(whole).substr(0, 40'000), "cut.gguf"), {.weights = false});
  EXPECT_EQ(model.architecture.n_layers, 5u);
  EXPECT_EQ(model.weights.all().size(), 48u);
  EXPECT_NE(model.tokenizer, nullptr);
  EXPECT_TRUE(model.weights.at("output.weight").parts.empty());
}

}  // namespace
}  // namespace lathe::formats
