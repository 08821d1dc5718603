// Hostile files of the other layouts, each wrong in one way.
#include "base/file.h"
#include "fuzz/raw_files.h"
#include "fuzz/seeds.h"
#include "hostile/hostile_files.h"

namespace lathe::fuzz {
namespace {

HostileFile model_file(std::string name, std::string file, std::string fault, std::string content) {
  return {std::move(name),
          file,
          file,
          std::move(fault),
          Load::kModel,
          [content = std::move(content), file](const auto& folder) { write_file(folder / file, content); }};
}

HostileFile safetensors(std::string name, std::string fault, std::string_view header, std::string_view data = {}) {
  return model_file(std::move(name), "model.safetensors", std::move(fault), raw_safetensors(header, data));
}

// One tensor with these header fields.
HostileFile entry(std::string name, std::string fault, const std::string& dtype, const std::string& shape,
                  const std::string& offsets, std::string_view data = {}) {
  return safetensors(std::move(name), std::move(fault),
                     R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                     data);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("nothing to replace: " + std::string(from));
  return text.replace(at, from.size(), to);
}

// A safetensors or .lathe file with its header edited and its length put right.
std::string with_header(const std::string& file, std::string_view from, std::string_view to) {
  std::uint64_t size;
  std::memcpy(&size, file.data(), sizeof size);
  return raw_safetensors(replaced(file.substr(8, size), from, to), file.substr(8 + size));
}

HostileFile lathe_file(std::string name, std::string fault, std::string_view from, std::string_view to,
                       std::size_t seed = 0) {
  return model_file(std::move(name), "model.lathe", std::move(fault), with_header(lathe_seeds()[seed], from, to));
}

std::string nested(std::size_t depth) { return std::string(depth, '['); }

}  // namespace

std::vector<HostileFile> hostile_safetensors() {
  const std::string good = raw_hugging_face();
  return {
      model_file("header of 2^63 bytes", "model.safetensors", "",
                 raw(std::uint64_t{1} << 63) + "{}" + std::string(64, ' ')),
      model_file("header of 2^64-1 bytes", "model.safetensors", "",
                 raw(~std::uint64_t{0}) + "{}" + std::string(64, ' ')),
      model_file("header longer than the file", "model.safetensors", "header",
                 raw(std::uint64_t{1000}) + "{}" + std::string(64, ' ')),
      model_file("header of 99 MB promised", "model.safetensors", "header",
                 raw(std::uint64_t{99'000'000}) + "{}" + std::string(64, ' ')),
      safetensors("header is no JSON", "invalid JSON", "{nonsense}"),
      safetensors("header nested 100000 deep", "nested deeper", "{\"a\":" + nested(100'000)),
      model_file("cut inside the header", "model.safetensors", "header", good.substr(0, 100)),
      model_file("cut inside the data", "model.safetensors", "the file is truncated", good.substr(0, good.size() - 1)),
      model_file("bytes after the data", "model.safetensors", "follow the header", good + "x"),
      safetensors(
          "overlapping tensors", "must lie one after the other",
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
          "123456"),
      safetensors(
          "a gap between tensors", "must lie one after the other",
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
          "123456"),
      entry("ends before it begins", "before it begins", "\"U8\"", "[2]", "[4,2]", "1234"),
      entry("offsets of 2^63", "tensor \"t\"", "\"U8\"", "[2]", "[9223372036854775808,9223372036854775810]", "1234"),
      entry("offset beyond 64 bits", "not a non-negative integer", "\"U8\"", "[2]", "[0,36893488147419103232]", "1234"),
      entry("negative offset", "not a non-negative integer", "\"U8\"", "[2]", "[-2,0]", "1234"),
      entry("one offset", "not a pair", "\"U8\"", "[2]", "[0]", "12"),
      entry("element count overflows", "overflow", "\"F32\"", "[4294967296,4294967296,4294967296]", "[0,4]", "1234"),
      entry("byte count overflows", "overflows", "\"F64\"", "[4611686018427387904]", "[0,4]", "1234"),
      entry("negative dimension", "not a non-negative integer", "\"U8\"", "[-1]", "[0,1]", "1"),
      entry("fractional dimension", "not a non-negative integer", "\"U8\"", "[1.5]", "[0,1]", "1"),
      entry("dimension of text", "not a non-negative integer", "\"U8\"", "[\"1\"]", "[0,1]", "1"),
      entry("five dimensions", "has 5 dimensions", "\"U8\"", "[1,1,1,1,1]", "[0,1]", "1"),
      entry("more than the offsets hold", "needs 8 bytes", "\"F32\"", "[2]", "[0,4]", "1234"),
      entry("unknown dtype", "\"F3\" is not supported", "\"F3\"", "[1]", "[0,1]", "1"),
      entry("dtype of a number", "\"dtype\" is missing or not a string", "3", "[1]", "[0,1]", "1"),
      safetensors("entry is no object", "not an object", R"({"t":[]})"),
      safetensors("metadata is no object", "\"__metadata__\"", R"({"__metadata__":[]})"),
      safetensors("metadata of numbers", "not a string", R"({"__metadata__":{"a":1}})"),
      safetensors("a name with control characters", "control characters",
                  R"({"a\u0007":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1"),
      entry("tensors without a config.json", "does not say what model", "\"U8\"", "[1]", "[0,1]", "1"),
      model_file("a missing tensor", "model.safetensors", "missing",
                 with_header(good, "model.norm.weight", "model.morn.weight")),
      model_file("a tensor of another shape", "model.safetensors", "expected",
                 with_header(good, "\"shape\":[16,32]", "\"shape\":[32,16]")),
  };
}

std::vector<HostileFile> hostile_configs() {
  const auto config = [](std::string name, std::string fault, std::string content) {
    return HostileFile{std::move(name),
                       "model",
                       "config.json",
                       std::move(fault),
                       Load::kModel,
                       [content = std::move(content)](const auto& folder) {
                         std::filesystem::create_directories(folder / "model");
                         write_file(folder / "model/config.json", content);
                         write_file(folder / "model/model.safetensors", raw_hugging_face());
                       }};
  };
  const auto field = [&](std::string name, std::string fault, const std::string& from, const std::string& to) {
    return config(std::move(name), std::move(fault), replaced(kTinyConfig, from, to));
  };
  const auto rope = [&](std::string name, std::string fault, const std::string& scaling) {
    return field(std::move(name), std::move(fault), "\"rope_theta\":10000.0",
                 "\"rope_theta\":10000.0,\"rope_scaling\":" + scaling);
  };
  const auto folder_with = [](std::string name, std::string blames, std::string fault, std::string file,
                              std::string content) {
    return HostileFile{std::move(name),
                       "model",
                       std::move(blames),
                       std::move(fault),
                       Load::kModel,
                       [file = std::move(file), content = std::move(content)](const auto& folder) {
                         std::filesystem::create_directories(folder / "model");
                         write_file(folder / "model/config.json", kTinyConfig);
                         write_file(folder / "model/model.safetensors", raw_hugging_face());
                         write_file(folder / "model" / file, content);
                       }};
  };
  const std::string index = "model.safetensors.index.json";
  return {
      config("empty", "invalid JSON", ""),
      config("cut off", "invalid JSON", std::string(kTinyConfig).substr(0, 60)),
      config("an array", "is not a JSON object", "[]"),
      config("nested 100000 deep", "nested deeper", nested(100'000)),
      config("not UTF-8", "invalid JSON", "{\"model_type\":\"\xff\"}"),
      field("no model type", "model_type", "\"model_type\":\"llama\",", ""),
      field("model type of a number", "model_type", "\"llama\"", "3"),
      field("unknown model type", "spam", "\"llama\"", "\"spam\""),
      field("negative width", "\"hidden_size\" is not a non-negative integer", "\"hidden_size\":32",
            "\"hidden_size\":-32"),
      field("fractional width", "\"hidden_size\" is not a non-negative integer", "\"hidden_size\":32",
            "\"hidden_size\":32.5"),
      field("width of text", "\"hidden_size\" is not a non-negative integer", "\"hidden_size\":32",
            "\"hidden_size\":\"32\""),
      field("width 2^40", "out of range", "\"hidden_size\":32", "\"hidden_size\":1099511627776"),
      field("width beyond 64 bits", "\"hidden_size\"", "\"hidden_size\":32", "\"hidden_size\":36893488147419103232"),
      field("width 0", "model width is 0", "\"hidden_size\":32", "\"hidden_size\":0"),
      field("zero heads", "head count is 0", "\"num_attention_heads\":2", "\"num_attention_heads\":0"),
      field("2^31 heads", "head count is 2147483648", "\"num_attention_heads\":2",
            "\"num_attention_heads\":2147483648"),
      field("zero KV heads", "KV head count is 0", "\"num_key_value_heads\":1", "\"num_key_value_heads\":0"),
      field("zero vocabulary", "vocabulary size is 0", "\"vocab_size\":16", "\"vocab_size\":0"),
      field("2^31 layers", "layer count is 2147483648", "\"num_hidden_layers\":1", "\"num_hidden_layers\":2147483648"),
      field("epsilon of text", "\"rms_norm_eps\" has the wrong type", "1e-05", "\"small\""),
      field("epsilon beyond floats", "norm epsilon is inf", "1e-05", "1e300"),
      field("number beyond doubles", "invalid JSON", "1e-05", "1e999"),
      field("RoPE base 0", "RoPE base is 0", "10000.0", "0"),
      field("unknown activation", "\"snake\" is not supported", "\"silu\"", "\"snake\""),
      rope("RoPE scaling of text", "\"rope_scaling\" is not an object", "\"linear\""),
      rope("unknown RoPE type", "\"warp\" is not supported", R"({"type":"warp","factor":2})"),
      rope("RoPE factor 0", "RoPE scaling factor is 0", R"({"type":"linear","factor":0})"),
      rope("LongRope factors of another length", "RoPE factors",
           R"({"type":"longrope","short_factor":[1],"long_factor":[1]})"),
      rope(
          "Llama 3 factors crossed", "high_freq_factor",
          R"({"rope_type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":1,"original_max_position_embeddings":8})"),
      field("quantized in an unknown way", "\"bits\" is missing", "{\"model_type\"",
            R"({"quantization_config":{"quant_method":"gptq"},"model_type")"),
      folder_with("index that leaves the folder", index, "not the name of a file in this folder", index,
                  R"({"weight_map":{"a":"../../etc/passwd"}})"),
      folder_with("index with a missing shard", "model-00001-of-00002.safetensors", "such file", index,
                  R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})"),
      folder_with("index without a map", index, "\"weight_map\"", index, R"({"weight_map":[]})"),
      folder_with("index nested 100000 deep", index, "nested deeper", index, nested(100'000)),
      folder_with("broken tokenizer.json", "tokenizer.json", "invalid JSON", "tokenizer.json", "{"),
      folder_with("broken generation_config.json", "generation_config.json", "invalid JSON", "generation_config.json",
                  "{"),
      folder_with("broken tokenizer.model", "tokenizer.model", "cut off", "tokenizer.model", "\n\xff\x01"),
  };
}

std::vector<HostileFile> hostile_other_models() {
  const auto llama2c = [](std::string name, std::string fault, int version, std::ptrdiff_t field, std::int32_t value) {
    std::string content = raw_llama2c(version);
    std::memcpy(content.data() + (version == 0 ? 0 : 8) + field, &value, sizeof value);
    return model_file(std::move(name), "model.bin", std::move(fault), content);
  };
  const auto translator = [](std::string name, std::string fault, auto change) {
    RawCTranslate2 file = raw_ctranslate2();
    change(file);
    return model_file(std::move(name), "model.bin", std::move(fault), file.bytes());
  };
  using Translator = RawCTranslate2&;
  const std::string tensors = json_tensors_seeds()[0];
  const auto json = [&](std::string name, std::string fault, std::string_view from, std::string_view to) {
    return model_file(std::move(name), "model.json", std::move(fault), replaced(tensors, from, to));
  };
  return {
      model_file("llama2.c cut in its header", "model.bin", "header", raw_llama2c(1).substr(0, 30)),
      model_file("llama2.c cut in its data", "model.bin", "the file is truncated", raw_llama2c(1).substr(0, 900)),
      model_file("llama2.c of int8 cut in its data", "model.bin", "the file is truncated",
                 raw_llama2c(2).substr(0, 900)),
      model_file("llama2.c without header, cut", "model.bin", "not a model file", raw_llama2c(0).substr(0, 900)),
      llama2c("llama2.c of version 3", "version 3", 1, -4, 3),
      llama2c("llama2.c of width 0", "model width is 0", 1, 0, 0),
      llama2c("llama2.c of width -1", "model width is -1", 1, 0, -1),
      llama2c("llama2.c of width 2^31-2", "model width", 1, 0, 0x7ffffffe),
      llama2c("llama2.c without layers", "layer count is 0", 1, 8, 0),
      llama2c("llama2.c of 2^31-1 layers", "layer count", 1, 8, 0x7fffffff),
      llama2c("llama2.c with zero heads", "head count is 0", 1, 12, 0),
      llama2c("llama2.c with 3 heads", "does not divide", 1, 12, 3),
      llama2c("llama2.c with zero KV heads", "KV head count is 0", 1, 16, 0),
      llama2c("llama2.c with a huge vocabulary", "vocabulary size", 1, 20, 0x7fffffff),
      llama2c("llama2.c with a larger vocabulary", "the file is truncated", 1, 20, 1 << 20),
      llama2c("llama2.c with groups of 0", "groups of 0", 2, 29, 0),
      llama2c("llama2.c with groups of -1", "groups of -1", 2, 29, -1),
      llama2c("llama2.c with groups of 2^30", "groups of", 2, 29, 1 << 30),
      model_file("CTranslate2 cut in its header", "model.bin", "the number of variables",
                 raw_ctranslate2().bytes().substr(0, 28)),
      model_file("CTranslate2 cut in its data", "model.bin", "truncated", raw_ctranslate2().bytes().substr(0, 900)),
      translator("CTranslate2 of version 6", "version 6", [](Translator f) { f.version = 6; }),
      translator("CTranslate2 of revision 9", "revision 9", [](Translator f) { f.revision = 9; }),
      translator("CTranslate2 of another specification", "WhisperSpec",
                 [](Translator f) { f.specification = "WhisperSpec"; }),
      translator("CTranslate2 of 2^32-1 variables", "do not fit", [](Translator f) { f.count = 0xffffffff; }),
      translator("CTranslate2 with a variable twice", "appears twice",
                 [](Translator f) { f.variables.push_back(f.variables.front()); }),
      translator("CTranslate2 with bytes behind", "after the last variable",
                 [](Translator f) { f.variables.back().data += "x"; }),
      translator("CTranslate2 with a variable of 9 axes", "rank 9",
                 [](Translator f) { f.variables.front().shape.assign(9, 1); }),
      translator("CTranslate2 with a shape that overflows", "overflow",
                 [](Translator f) { f.variables.front().shape.assign(4, 0xffffffff); }),
      translator("CTranslate2 with a count of its own", "its shape says",
                 [](Translator f) { ++f.variables.front().count; }),
      translator("CTranslate2 with elements of 3 bytes", "elements of 3 bytes",
                 [](Translator f) { f.variables.front().item_bytes = 3; }),
      translator("CTranslate2 without a decoder", "0 layers of the decoder",
                 [](Translator f) { f.at("decoder/layer_0/self_attention/linear_0/weight").name = "gone"; }),
      translator("CTranslate2 without a bias", "\"decoder/projection/bias\" is missing",
                 [](Translator f) { f.at("decoder/projection/bias").name = "gone"; }),
      translator("CTranslate2 with a vector for a matrix", "has rank 1",
                 [](Translator f) {
                   auto& v = f.at("decoder/embeddings/weight");
                   v.shape = {v.count};
                 }),
      translator("CTranslate2 with another shape", "has shape",
                 [](Translator f) {
                   std::swap(f.at("decoder/layer_0/ffn/linear_1/weight").shape[0],
                             f.at("decoder/layer_0/ffn/linear_1/weight").shape[1]);
                 }),
      translator("CTranslate2 of integers without a scale", "_scale\" is missing",
                 [](Translator f) {
                   auto& v = f.at("encoder/layer_0/ffn/linear_0/weight");
                   v.item_bytes = 2;
                   v.data.resize(v.count * 2);
                 }),
      lathe_file(".lathe of version 9", "version 9", R"("lathe.version":"1")", R"("lathe.version":"9")"),
      lathe_file(".lathe without an architecture", "lathe.architecture", "lathe.architecture", "lathe.arkitecture"),
      lathe_file(".lathe with a strange field", "n_headz", "n_heads", "n_headz"),
      lathe_file(".lathe with an unknown codec", "\"Q4_9\" is unknown", R"(\"codec\":\"Q4_0\")",
                 R"(\"codec\":\"Q4_9\")"),
      lathe_file(".lathe with another shape", "model.lathe", R"(\"shape\":[32,32])", R"(\"shape\":[32,64])"),
      lathe_file(".lathe with a dimension that overflows", "overflow", R"(\"shape\":[32,32])",
                 R"(\"shape\":[9223372036854775807,32])"),
      lathe_file(".lathe with a group size of 0", "group size", R"(\"group_size\":32)", R"(\"group_size\":0)", 1),
      lathe_file(".lathe with a huge group size", "group_size", R"(\"group_size\":32)", R"(\"group_size\":4294967296)",
                 1),
      lathe_file(".lathe with a missing part", "missing", "blk.0.attn_k.weight/scales", "blk.0.attn_k.weight/skales",
                 1),
      lathe_file(".lathe with activations of 99 bits", "99-bit activations", R"(\"activation_bits\":4)",
                 R"(\"activation_bits\":99)", 2),
      lathe_file(".lathe with activation bits that its codec has not", "4-bit activations", R"(\"codec\":\"BIPOLAR\")",
                 R"(\"codec\":\"BITMOD\")", 2),
      lathe_file(".lathe with planes of another width", "model.lathe", R"(\"codec\":\"DGQ\",\"group_size\":32)",
                 R"(\"codec\":\"DGQ\",\"group_size\":31)", 2),
      lathe_file(".lathe with a width that its codec has not", "neither widths", R"(\"codec\":\"W8A8\")",
                 R"(\"codec\":\"W8A8\",\"bits\":8)", 2),
      json("JSON without heads", "does not divide", "\"n_head\":1", "\"n_head\":0"),
      json("JSON of negative width", "n_embd", "\"n_embd\":4", "\"n_embd\":-4"),
      json("JSON of a huge width", "n_embd", "\"n_embd\":4", "\"n_embd\":1e300"),
      json("JSON with a shape that overflows", "overflow", "\"shape\":[3,4]", "\"shape\":[9223372036854775807,4]"),
      json("JSON with a larger shape", "needs", "\"shape\":[3,4]", "\"shape\":[3,5]"),
      json("JSON with broken base64", "base64", "Pz8/", "P?8/"),
      json("JSON with base64 cut short", "base64", "Pz8/", "Pz8"),
      json("JSON of another dtype", "torch.float32", "torch.float32", "torch.float16"),
      model_file("JSON cut off", "model.json", "invalid JSON", tensors.substr(0, 150)),
      model_file("a pickle", "model.bin", "pickle", "\x80\x02}q\x00" + std::string(100, 'x')),
      model_file("a ZIP archive", "model.pt", "ZIP archive", "PK\x03\x04" + std::string(100, 'x')),
      model_file("plain text", "model.txt", "not a model file",
                 "Once upon a time there was a file that was no model at all."),
      model_file("a megabyte of zeros", "model.bin", "not a model file", std::string(1 << 20, '\0')),
      model_file("a megabyte of ones", "model.bin", "not a model file", std::string(1 << 20, '\xff')),
      {"a folder of nothing", "model", "model", "without config.json", Load::kModel,
       [](const auto& folder) { std::filesystem::create_directories(folder / "model"); }},
      {"no such file", "model.gguf", "model.gguf", "such file", Load::kModel, [](const auto&) {}},
      {"a name too long", std::string(300, 'n'), "nnn", "", Load::kModel, [](const auto&) {}},
      {"a link to itself", "model.gguf", "model.gguf", "", Load::kModel,
       [](const auto& folder) { std::filesystem::create_symlink("model.gguf", folder / "model.gguf"); }},
  };
}

}  // namespace lathe::fuzz
