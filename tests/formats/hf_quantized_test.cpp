// GPTQ and AWQ checkpoints, packed here bit by bit as their writers pack them, and read back exactly.
#include "formats/hf_quantized.h"
#include "base/json.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/half.h"
#include "formats/model_file.h"
#include "formats/safetensors_writer.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::TempDir;

struct Kind {
  std::string method;  // "gptq", "gptq_v2", "awq"
  int bits, group;
  bool symmetric;
};

// One linear's integers, zero points and scales, [out, in] and [out, groups].
struct Integers {
  std::uint64_t out, in, groups, group;
  std::vector<std::uint32_t> levels, zeros;
  std::vector<float> scales;
};

Integers random_integers(const Shape& shape, const Kind& kind, unsigned seed) {
  std::mt19937 random(seed);
  Integers w{shape[0], shape[1], 1, shape[1], {}, {}, {}};
  if (kind.group > 0) w.group = static_cast<std::uint64_t>(kind.group), w.groups = (w.in + w.group - 1) / w.group;
  const std::uint32_t count = 1u << kind.bits;
  for (std::uint64_t i = 0; i < w.out * w.in; ++i) w.levels.push_back(random() % count);
  for (std::uint64_t i = 0; i < w.out * w.groups; ++i) {
    w.zeros.push_back(kind.symmetric ? count / 2 : 1 + random() % (count - 1));
    w.scales.push_back(float_from_half(half_from_float(0.0001f * static_cast<float>(1 + random() % 300))));
  }
  return w;
}

// Appends integers of `bits` bits to a stream of words, lowest bits first.
class Stream {
 public:
  explicit Stream(int bits) : bits_(bits) {}
  void add(std::uint32_t value) {
    for (int b = 0; b < bits_; ++b, ++at_) {
      if (at_ % 32 == 0) words.push_back(0);
      words.back() |= (value >> b & 1u) << at_ % 32;
    }
  }
  std::vector<std::uint32_t> words;

 private:
  int bits_;
  std::uint64_t at_ = 0;
};

class Checkpoint {
 public:
  Checkpoint(const TempDir& folder, const Kind& kind) : path_(folder / "model"), kind_(kind) {
    arch::Architecture a = synth_preset("llama-tiny");
    a.n_layers = 2, a.width = 64, a.ffn_width = 96, a.n_heads = 4, a.n_kv_heads = 2;
    a.head_dim = a.v_head_dim = a.rotary_dim = 16, a.vocab_size = 300, a.context_length = 64;
    synthesize(a, path_, {.codec = "F16"});
    plain_ = load_model(path_);
  }

  void write(const std::function<void(std::string&, std::vector<std::uint32_t>&, Shape&)>& damage = {}) {
    std::vector<SafetensorsItem> items;
    const arch::Family& family = arch::family_named("llama", "test");
    unsigned seed = 0;
    for (const auto& [name, tensor] : plain_.weights.all()) {
      const std::string hf = arch::hf_name(family, name);
      if (tensor.shape.rank() < 2 || !name.starts_with("blk.")) {
        items.push_back(
            bytes_item(hf, name.starts_with("blk.") || tensor.codec->name() == "F32" ? DType::kF32 : DType::kF16,
                       tensor.shape, std::string(tensor.parts[0].data.text())));
        continue;
      }
      linears[name] = random_integers(tensor.shape, kind_, ++seed);
      add_linear(hf.substr(0, hf.size() - std::strlen(".weight")), linears[name], items, damage);
    }
    write_safetensors(path_ / "model.safetensors", items, {{"format", "pt"}});
    Json config = parse_json(read_file(path_ / "config.json"), "config.json");
    config["quantization_config"] = configuration();
    AtomicFile file(path_ / "config.json");
    file.write(config.dump());
    file.commit();
  }

  Json configuration() const {
    if (kind_.method == "awq") {
      return {
          {"quant_method", "awq"}, {"bits", 4}, {"group_size", kind_.group}, {"zero_point", true}, {"version", "gemm"}};
    }
    Json json = {{"quant_method", "gptq"}, {"bits", kind_.bits}, {"group_size", kind_.group}, {"sym", kind_.symmetric}};
    if (kind_.method == "gptq_v2") json["checkpoint_format"] = "gptq_v2";
    return json;
  }
  const std::filesystem::path& path() const { return path_; }

  std::map<std::string, Integers> linears;

 private:
  static SafetensorsItem bytes_item(const std::string& name, DType dtype, const Shape& shape, std::string bytes) {
    return {name, dtype, shape, [bytes = std::move(bytes)](AtomicFile& file) { file.write(bytes); }, 0};
  }

  void add_linear(const std::string& hf, const Integers& w, std::vector<SafetensorsItem>& items,
                  const std::function<void(std::string&, std::vector<std::uint32_t>&, Shape&)>& damage) const {
    const auto add = [&](std::string name, std::vector<std::uint32_t> words, Shape shape) {
      if (damage) damage(name, words, shape);
      if (name.empty()) return;
      items.push_back(bytes_item(name, DType::kI32, shape,
                                 {reinterpret_cast<const char*>(words.data()), words.size() * sizeof(std::uint32_t)}));
    };
    const auto bits = static_cast<std::uint64_t>(kind_.bits);
    std::vector<std::uint32_t> zeros, weight;
    std::vector<std::uint16_t> scales;
    for (std::uint64_t g = 0; g < w.groups; ++g) {
      for (std::uint64_t o = 0; o < w.out; ++o) scales.push_back(half_from_float(w.scales[o * w.groups + g]));
    }
    if (kind_.method == "awq") {
      constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
      const auto pack_row = [&](const auto& at, std::vector<std::uint32_t>& words) {
        for (std::uint64_t o = 0; o < w.out; o += 8) {
          std::uint32_t word = 0;
          for (int i = 0; i < 8; ++i) word |= at(o + static_cast<std::uint64_t>(kOrder[i])) << 4 * i;
          words.push_back(word);
        }
      };
      for (std::uint64_t i = 0; i < w.in; ++i)
        pack_row([&](std::uint64_t o) { return w.levels[o * w.in + i]; }, weight);
      for (std::uint64_t g = 0; g < w.groups; ++g) {
        pack_row([&](std::uint64_t o) { return w.zeros[o * w.groups + g]; }, zeros);
      }
      add(hf + ".qweight", weight, Shape{w.in, w.out / 8});
      add(hf + ".qzeros", zeros, Shape{w.groups, w.out / 8});
    } else {
      std::vector<std::vector<std::uint32_t>> columns;
      for (std::uint64_t o = 0; o < w.out; ++o) {
        Stream stream(kind_.bits);
        for (std::uint64_t i = 0; i < w.in; ++i) stream.add(w.levels[o * w.in + i]);
        columns.push_back(stream.words);
      }
      for (std::uint64_t r = 0; r < columns[0].size(); ++r) {
        for (std::uint64_t o = 0; o < w.out; ++o) weight.push_back(columns[o][r]);
      }
      for (std::uint64_t g = 0; g < w.groups; ++g) {
        Stream stream(kind_.bits);
        for (std::uint64_t o = 0; o < w.out; ++o) {
          stream.add(w.zeros[o * w.groups + g] - (kind_.method == "gptq_v2" ? 0 : 1));
        }
        zeros.insert(zeros.end(), stream.words.begin(), stream.words.end());
      }
      std::vector<std::uint32_t> index(w.in);
      for (std::uint64_t i = 0; i < w.in; ++i) index[i] = static_cast<std::uint32_t>(i / w.group);
      add(hf + ".qweight", weight, Shape{w.in * bits / 32, w.out});
      add(hf + ".qzeros", zeros, Shape{w.groups, w.out * bits / 32});
      add(hf + ".g_idx", index, Shape{w.in});
    }
    items.push_back(bytes_item(hf + ".scales", DType::kF16, Shape{w.groups, w.out},
                               {reinterpret_cast<const char*>(scales.data()), scales.size() * sizeof(std::uint16_t)}));
  }

  std::filesystem::path path_;
  Kind kind_;
  ModelFile plain_;
};

TEST(HfQuantized, IsReadExactly) {
  for (const Kind& kind :
       {Kind{"gptq", 4, 32, true}, Kind{"gptq", 4, 32, false}, Kind{"gptq", 3, 32, false}, Kind{"gptq", 2, 64, true},
        Kind{"gptq", 8, -1, false}, Kind{"gptq_v2", 4, -1, false}, Kind{"awq", 4, 32, false}}) {
    const TempDir folder;
    Checkpoint checkpoint(folder, kind);
    checkpoint.write();
    const ModelFile model = load_model(checkpoint.path());
    LoadOptions table;
    table.weights = false;
    const ModelFile shapes = load_model(checkpoint.path(), table);
    ASSERT_EQ(checkpoint.linears.size(), 14u);
    for (const auto& [name, w] : checkpoint.linears) {
      const PackedTensor& tensor = model.weights.at(name);
      EXPECT_EQ(tensor.codec->name(), kind.symmetric ? "INT_SYM" : "INT_ASYM") << kind.method << " " << name;
      EXPECT_EQ(tensor.params, (CodecParams{kind.bits, kind.group < 0 ? 0 : kind.group}));
      EXPECT_EQ(shapes.weights.at(name).codec, tensor.codec);
      EXPECT_EQ(shapes.weights.at(name).shape, tensor.shape);
      const std::vector<float> values = tensor.to_floats();
      for (std::uint64_t i = 0; i < values.size(); ++i) {
        const std::uint64_t group = i / w.in * w.groups + i % w.in / w.group;
        ASSERT_EQ(values[i], w.scales[group] * (static_cast<float>(w.levels[i]) - static_cast<float>(w.zeros[group])))
            << kind.method << " " << kind.bits << " " << name << " " << i;
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

TEST(HfQuantized, DamageAndUnknownHeadersAreErrors) {
  const TempDir folder;
  Checkpoint checkpoint(folder, {"gptq", 4, 32, false});
  const auto with = [&](const std::function<void(std::string&, std::vector<std::uint32_t>&, Shape&)>& damage) {
    checkpoint.write(damage);
    return failure(checkpoint.path());
  };
  const std::string q = "model.layers.1.self_attn.q_proj";
  EXPECT_NE(with([&](std::string& name, auto&, Shape&) {
              if (name == q + ".qzeros") name.clear();
            }).find("qzeros"),
            std::string::npos);
  EXPECT_NE(with([&](std::string& name, auto& words, Shape& shape) {
              if (name == q + ".qweight") words.resize(words.size() - 64), shape = Shape{shape[0] - 1, 64};
            }).find(q),
            std::string::npos);
  EXPECT_NE(with([&](std::string& name, auto& words, Shape&) {
              if (name == q + ".g_idx") std::swap(words[0], words[40]);
            }).find("desc_act"),
            std::string::npos);
  checkpoint.write();
  for (const auto& [key, value, expected] : {std::tuple<const char*, Json, const char*>{"quant_method", "exl2", "exl2"},
                                             {"bits", 5, "not 5"},
                                             {"group_size", -7, "out of range"},
                                             {"checkpoint_format", "marlin", "marlin"}}) {
    Json config = parse_json(read_file(checkpoint.path() / "config.json"), "config.json");
    config["quantization_config"] = checkpoint.configuration();
    config["quantization_config"][key] = value;
    AtomicFile file(checkpoint.path() / "config.json");
    file.write(config.dump());
    file.commit();
    EXPECT_NE(failure(checkpoint.path()).find(expected), std::string::npos) << failure(checkpoint.path());
  }
}

}  // namespace
}  // namespace lathe::formats
