// Damaged and hostile files: every one must end in an Error that names the file, soon, and without a large allocation.
#include <fmt/format.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/gguf_reader.h"
#include "formats/model_file.h"
#include "formats/random.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::TempDir;

constexpr const char* kName = "damaged.model";

arch::Architecture smallest() {
  arch::Architecture a = synth_preset("llama-tiny");
  a.n_layers = 1;
  a.width = a.ffn_width = 32;
  a.n_heads = a.n_kv_heads = 2;
  a.head_dim = a.v_head_dim = a.rotary_dim = 16;
  a.vocab_size = 40;
  a.context_length = 64;
  return a;
}

// A whole small model in the layout that `name` implies.
std::string model_bytes(const std::string& name, const char* codec = "F32") {
  const TempDir folder;
  synthesize(smallest(), folder / name, {.codec = codec});
  return read_file(folder / name);
}

// "" when `bytes` load, otherwise the message of the Error. Anything else that is thrown fails the test.
std::string message_of(std::string_view bytes) {
  const auto start = std::chrono::steady_clock::now();
  std::string message;
  try {
    load_model(Bytes::copy_of(bytes, kName));
  } catch (const Error& error) {
    message = error.what();
    EXPECT_NE(message.find(kName), std::string::npos) << message;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 1.0) << message;
  return message;
}

void expect_error(std::string_view bytes, std::string_view part) {
  const std::string message = message_of(bytes);
  EXPECT_NE(message.find(part), std::string::npos) << "expected \"" << part << "\" in: " << message;
}

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& out, std::string_view text) {
  append(out, std::uint64_t{text.size()});
  out += text;
}

// ---- every layout: truncation and bit flips

class DamagedFile : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { set_log_level(LogLevel::kError); }
  void TearDown() override { set_log_level(LogLevel::kWarning); }
};

TEST_P(DamagedFile, TruncationIsAnError) {
  const std::string whole = model_bytes(GetParam());
  ASSERT_EQ(message_of(whole), "");
  std::vector<std::size_t> ends;
  for (std::size_t end = 0; end < std::min<std::size_t>(whole.size(), 600); ++end) ends.push_back(end);
  for (std::size_t end = 0; end < whole.size(); end += 97) ends.push_back(end);
  ends.push_back(whole.size() - 1);
  for (const std::size_t end : ends) EXPECT_NE(message_of(whole.substr(0, end)), "") << "cut at " << end;
}

TEST_P(DamagedFile, BitFlipsNeverCrash) {
  const std::string whole = model_bytes(GetParam());
  Random random(11);
  const std::size_t header = std::min<std::size_t>(whole.size(), 4000);
  for (int i = 0; i < 3000; ++i) {
    std::string flipped = whole;
    flipped[random.below(header)] ^= static_cast<char>(1 << random.below(8));
    message_of(flipped);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, DamagedFile, testing::Values("m.gguf", "m.lathe", "m.safetensors"),
                         [](const auto& info) { return std::string(info.param + 2); });

// ---- GGUF

// A GGUF file from parts that a test may spoil one by one.
struct GgufParts {
  std::uint32_t version = 3;
  std::uint64_t n_tensors = 1, n_keys = 1;
  std::string keys, tensors, data;

  GgufParts() {
    append_text(keys, "general.architecture");
    append(keys, std::uint32_t{8});
    append_text(keys, "llama");
    tensor("token_embd.weight", {32, 40}, 0, 0);
    data.assign(32 * 40 * 4, '\0');
  }
  void tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
              std::uint64_t offset) {
    append_text(tensors, name);
    append(tensors, static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) append(tensors, extent);
    append(tensors, type);
    append(tensors, offset);
  }
  void key(std::string_view name, std::uint32_t type, std::string_view value) {
    ++n_keys;
    append_text(keys, name);
    append(keys, type);
    keys += value;
  }
  std::string bytes() const {
    std::string out = "GGUF";
    append(out, version);
    append(out, n_tensors);
    append(out, n_keys);
    out += keys + tensors;
    while (out.size() % 32 != 0) out += '\0';
    return out + data;
  }
};

template <class T>
std::string raw(T value) {
  std::string out;
  append(out, value);
  return out;
}

TEST(BadGguf, CountsThatCannotFit) {
  for (const std::uint64_t count :
       {std::uint64_t{1} << 60, ~std::uint64_t{0}, std::uint64_t{1} << 32, std::uint64_t{100'000}}) {
    GgufParts tensors;
    tensors.n_tensors = count;
    expect_error(tensors.bytes(), "cannot fit");
    GgufParts keys;
    keys.n_keys = count;
    expect_error(keys.bytes(), "cannot fit");
  }
}

TEST(BadGguf, Versions) {
  GgufParts parts;
  parts.version = 1;
  expect_error(parts.bytes(), "version 1");
  parts.version = 9;
  expect_error(parts.bytes(), "version 9");
  parts.version = 0x03000000;
  expect_error(parts.bytes(), "big-endian");
}

TEST(BadGguf, Metadata) {
  GgufParts twice;
  twice.key("general.architecture", 8, raw(std::uint64_t{0}));
  expect_error(twice.bytes(), "appears twice");
  GgufParts type;
  type.key("x", 77, "");
  expect_error(type.bytes(), "unknown type 77");
  GgufParts nested;
  nested.key("x", 9, raw(std::uint32_t{9}) + raw(std::uint64_t{1}));
  expect_error(nested.bytes(), "array of arrays");
  GgufParts overflow;
  overflow.key("x", 9, raw(std::uint32_t{10}) + raw(std::uint64_t{1} << 61));
  expect_error(overflow.bytes(), "overflows");
  GgufParts array;
  array.key("x", 9, raw(std::uint32_t{4}) + raw(std::uint64_t{1} << 40));
  expect_error(array.bytes(), "bytes are there");
  GgufParts strings;
  strings.key("x", 9, raw(std::uint32_t{8}) + raw(std::uint64_t{1} << 50));
  expect_error(strings.bytes(), "cannot fit");
  GgufParts string;
  string.key("x", 8, raw(~std::uint64_t{0}));
  expect_error(string.bytes(), "bytes are there");
  GgufParts boolean;
  boolean.key("x", 7, raw(std::uint8_t{7}));
  expect_error(boolean.bytes(), "boolean");
  for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 30}) {
    GgufParts parts;
    parts.key("general.alignment", 4, raw(alignment));
    expect_error(parts.bytes(), "general.alignment");
  }
}

TEST(BadGguf, Tensors) {
  const auto with = [](const std::vector<std::uint64_t>& extents, std::uint32_t type, std::uint64_t offset,
                       std::string_view part, std::string_view name = "x") {
    GgufParts parts;
    ++parts.n_tensors;
    parts.tensor(name, extents, type, offset);
    expect_error(parts.bytes(), part);
  };
  with({32}, 0, 1 << 20, "truncated or damaged");
  with({32}, 0, ~std::uint64_t{31}, "overflows");
  with({32}, 0, 8, "not a multiple");
  with({1 << 20}, 0, 0, "truncated or damaged");
  with({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, 0, "overflow");
  with({std::uint64_t{1} << 63}, 0, 0, "overflow");
  with({}, 0, 0, "0 dimensions");
  with({1, 1, 1, 1, 1}, 0, 0, "5 dimensions");
  with({0}, 0, 0, "size zero");
  with({32}, 4, 0, "tensor type 4");
  with({32}, 0xffffffff, 0, "tensor type 4294967295");
  with({33}, 2, 0, "do not divide");
  with({32}, 0, 0, "appears twice", "token_embd.weight");
  with({32}, 0, 0, "printable", "bad\nname");
}

// The metadata of a whole model, with one key replaced.
std::string with_key(std::string_view key, const MetaValue& value) {
  const TempDir folder;
  synthesize(smallest(), folder / "m.gguf", {.codec = "F32"});
  ModelFile model = load_model(folder / "m.gguf");
  std::string bytes = read_file(folder / "m.gguf");
  // The value is overwritten in place, so it must have the size of the old one.
  const std::size_t at = bytes.find(key);
  EXPECT_NE(at, std::string::npos) << key;
  const auto* number = std::get_if<std::uint64_t>(&value.value);
  const float real = number == nullptr ? static_cast<float>(std::get<double>(value.value)) : 0;
  const auto integer = number == nullptr ? 0 : static_cast<std::uint32_t>(*number);
  std::memcpy(bytes.data() + at + key.size() + 4, number == nullptr ? static_cast<const void*>(&real) : &integer, 4);
  return bytes;
}

TEST(BadGguf, Architecture) {
  expect_error(with_key("llama.attention.head_count", MetaValue::u32(0)), "head_count");
  expect_error(with_key("llama.attention.head_count_kv", MetaValue::u32(0)), "KV head count");
  expect_error(with_key("llama.attention.head_count_kv", MetaValue::u32(3)), "KV head count");
  expect_error(with_key("llama.attention.head_count", MetaValue::u32(3)), "does not divide");
  expect_error(with_key("llama.block_count", MetaValue::u32(0)), "layer count");
  expect_error(with_key("llama.block_count", MetaValue::u32(0xffffffff)), "layer count");
  expect_error(with_key("llama.block_count", MetaValue::u32(2)), "blk.1.attn_norm.weight\" is missing");
  expect_error(with_key("llama.embedding_length", MetaValue::u32(64)), "shape");
  expect_error(with_key("llama.feed_forward_length", MetaValue::u32(48)), "shape");
  expect_error(with_key("llama.context_length", MetaValue::u32(0)), "context length");
  expect_error(with_key("llama.rope.dimension_count", MetaValue::u32(7)), "odd");
  expect_error(with_key("llama.rope.dimension_count", MetaValue::u32(64)), "rotary dimension");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1.0f}) {
    expect_error(with_key("llama.rope.freq_base", MetaValue::f32(bad)), "RoPE base");
    expect_error(with_key("llama.attention.layer_norm_rms_epsilon", MetaValue::f32(bad)), "norm epsilon");
  }
}

TEST(BadGguf, UnknownFamilyListsTheKnownOnes) {
  GgufParts parts;
  parts.keys.clear();
  append_text(parts.keys, "general.architecture");
  append(parts.keys, std::uint32_t{8});
  append_text(parts.keys, "mamba9");
  expect_error(parts.bytes(), "known families: mistral, mixtral, llama, ");
}

TEST(BadGguf, TokenizerLargerThanTheEmbedding) {
  const TempDir folder;
  arch::Architecture a = smallest();
  a.vocab_size = 600;
  synthesize(a, folder / "big.gguf", {.codec = "F32"});
  synthesize(smallest(), folder / "small.gguf", {.codec = "F32"});
  try {
    load_model(folder / "small.gguf", {.tokenizer = folder / "big.gguf"});
    FAIL() << "a tokenizer of 600 tokens was accepted for a model of 40";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("600 tokens"), std::string::npos) << error.what();
  }
}

// ---- safetensors

std::string safetensors(std::string_view header, std::size_t data) {
  std::string out;
  append_text(out, header);
  return out + std::string(data, '\0');
}

TEST(BadSafetensors, Headers) {
  std::string huge;
  append(huge, std::uint64_t{1} << 50);
  EXPECT_NE(message_of(huge + "{}"), "");
  huge.clear();
  append(huge, std::uint64_t{90'000'000});
  EXPECT_NE(message_of(huge + "{}      "), "");
  expect_error(safetensors("{nonsense", 0), "invalid JSON");
  expect_error(safetensors("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0), "nested deeper");
  expect_error(safetensors(R"({"a":5})", 0), "not an object");
  expect_error(safetensors(R"({"__metadata__":{"x":1}})", 0), "not a string");
}

TEST(BadSafetensors, Entries) {
  const auto entry = [](std::string_view body) { return fmt::format(R"({{"a":{{{}}}}})", body); };
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 7), "truncated or damaged");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 9), "truncated or damaged");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8), "before it begins");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8), "needs 12 bytes");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8), "non-negative");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[2.5],"data_offsets":[0,8])"), 8), "non-negative");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"), 8),
               "overflow");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[1,1,1,1,2],"data_offsets":[0,8])"), 8), "5 dimensions");
  expect_error(safetensors(entry(R"("dtype":"Q9","shape":[2],"data_offsets":[0,8])"), 8), "\"Q9\" is not supported");
  expect_error(safetensors(entry(R"("dtype":3,"shape":[2],"data_offsets":[0,8])"), 8), "not a string");
  expect_error(safetensors(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), 8), "not a pair");
  const std::string two =
      R"({{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}}})";
  expect_error(safetensors(fmt::format(fmt::runtime(two), 4, 12), 12), "one after the other");   // overlap
  expect_error(safetensors(fmt::format(fmt::runtime(two), 12, 20), 20), "one after the other");  // gap
  expect_error(safetensors(fmt::format(fmt::runtime(two), 0, 8), 8), "one after the other");     // the same bytes
  expect_error(safetensors(fmt::format(fmt::runtime(two), 8, 16), 16), "put its config.json beside it");
}

// ---- folders

TEST(BadFolder, SaysWhatIsMissing) {
  const TempDir folder;
  const auto error = [&] {
    try {
      load_model(folder.path());
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error().find("without config.json"), std::string::npos) << error();
  write_file(folder / "config.json", R"({"model_type":"llama"})");
  EXPECT_NE(error().find("no safetensors file"), std::string::npos) << error();
  write_file(folder / "pytorch_model.bin", "PK\x03\x04");
  EXPECT_NE(error().find("PyTorch pickle"), std::string::npos) << error();
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "..", ""}) {
    const nlohmann::json index = {{"weight_map", {{"a", name}}}};
    write_file(folder / "model.safetensors.index.json", index.dump());
    EXPECT_NE(error().find("not the name of a file"), std::string::npos) << error();
  }
  write_file(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"missing.safetensors"}})");
  EXPECT_NE(error().find("missing.safetensors"), std::string::npos) << error();
}

TEST(BadFolder, Configs) {
  const TempDir folder;
  synthesize(smallest(), folder / "hf", {.codec = "F32"});
  const auto path = folder.path() / "hf/config.json";
  const Json good = parse_json(read_file(path), "config.json");
  const auto error = [&](const char* key, Json value) {
    Json config = good;
    config[key] = std::move(value);
    write_file(path, config.dump());
    try {
      load_model(folder / "hf");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error("unrelated", 1), "");
  EXPECT_NE(error("model_type", "mamba9").find("mamba9"), std::string::npos);
  EXPECT_NE(error("num_attention_heads", 0).find("head count"), std::string::npos);
  EXPECT_NE(error("hidden_size", -64).find("hidden_size"), std::string::npos);
  EXPECT_NE(error("hidden_size", 1e30).find("hidden_size"), std::string::npos);
  EXPECT_NE(error("vocab_size", 41).find("shape"), std::string::npos);
  EXPECT_NE(error("hidden_act", "snake").find("snake"), std::string::npos);
  EXPECT_NE(error("rope_scaling", {{"rope_type", "spiral"}}).find("spiral"), std::string::npos);
  EXPECT_NE(error("rope_scaling", 3).find("rope_scaling"), std::string::npos);
  EXPECT_NE(error("rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}).find("factor"), std::string::npos);
  EXPECT_NE(error("rope_scaling", {{"rope_type", "longrope"}, {"short_factor", {1, 2}}, {"long_factor", {1, 2}}})
                .find("factors"),
            std::string::npos);
  EXPECT_NE(error("quantization_config", {{"quant_method", "exl2"}}).find("exl2"), std::string::npos);
  EXPECT_NE(error("quantization_config", "gptq").find("not an object"), std::string::npos);
  EXPECT_EQ(error("quantization_config", nullptr), "");
}

// ---- other layouts

std::string llama2c(std::vector<std::int32_t> header, std::size_t data) {
  std::string out;
  for (const std::int32_t value : header) append(out, value);
  return out + std::string(data, '\0');
}

TEST(BadLlama2c, Headers) {
  constexpr std::int32_t kMagic = 0x616b3432;
  const auto versioned = [&](std::int32_t version, std::vector<std::int32_t> fields, std::size_t data) {
    std::vector<std::int32_t> header = {kMagic, version};
    header.insert(header.end(), fields.begin(), fields.end());
    std::string out = llama2c(header, 0) + '\1' + raw(std::int32_t{32});
    out.resize(256);
    return out + std::string(data, '\0');
  };
  expect_error(versioned(3, {32, 32, 1, 2, 2, 40, 64}, 0), "version 3");
  expect_error(versioned(1, {32, 32, 1, 0, 2, 40, 64}, 0), "head count is 0");
  expect_error(versioned(1, {32, 32, 1, 2, 2, 40, -64}, 0), "context length is -64");
  expect_error(versioned(1, {1 << 19, 1 << 19, 4096, 16384, 16384, 1 << 23, 64}, 100), "truncated or damaged");
  expect_error(versioned(2, {32, 32, 1, 2, 2, 40, 64}, 100), "truncated or damaged");
  expect_error(versioned(1, {32, 32, 1, 2, 2, 40, 64}, 1 << 20), "after the last tensor");
  // Without a magic only the exact size tells the layout.
  EXPECT_NE(message_of(llama2c({32, 32, 1, 2, 2, 40, 64}, 1000)), "");
  EXPECT_NE(message_of(llama2c({32, 32, 1, 2, 2, INT32_MIN, 64}, 1000)), "");
  EXPECT_NE(message_of(llama2c({INT32_MAX, INT32_MAX, 4096, 1, 1, INT32_MAX, INT32_MAX}, 1000)), "");
}

TEST(BadJsonTensors, Content) {
  const auto with = [](std::string_view rest) {
    return fmt::format(R"({{"config":{{"n_layer":1,"n_head":1,"n_embd":2,"vocab_size":1,"block_size":1}}{}}})", rest);
  };
  expect_error(with(""), "is missing");
  expect_error(with(R"(,"lm_head.weight":{"shape":[1,2],"dtype":"torch.float32","data":"AAAA"})"), "needs 8 bytes");
  expect_error(with(R"(,"lm_head.weight":{"shape":[1,2],"dtype":"torch.float32","data":"AA!A"})"), "wrong character");
  expect_error(with(R"(,"lm_head.weight":{"shape":[1,2],"dtype":"torch.float32","data":"AAA"})"), "cut short");
  expect_error(with(R"(,"lm_head.weight":{"shape":[1e9,2],"dtype":"torch.float32","data":"AAAA"})"),
               "positive integer");
  expect_error(with(R"(,"what.is.this":{"shape":[1],"dtype":"torch.float32","data":""})"), "not part of a GPT-2 model");
  expect_error(R"({"config":{"n_embd":2,"block_size":1,)", "invalid JSON");
}

TEST(ForeignFiles, AreNamedForWhatTheyAre) {
  expect_error(std::string("PK\x03\x04zip archive", 16), "PyTorch");
  expect_error("\x80\x02}q\x01.", "pickle");
  expect_error("\x89HDF\r\n", "HDF5");
  expect_error("lmggxxxxxxxx", "older than GGUF");
  expect_error("plain text, which is no model at all, but long enough to have a header", "is not a model file");
  expect_error("", "is not a model file");
  EXPECT_THROW(load_model("/nonexistent/model.gguf"), Error);
  LATHE_NEED_SHARED("models/capp-gpt/model.onnx");
  EXPECT_NE(message_of(read_file(test::shared("models/capp-gpt/model.onnx"))).find("ONNX"), std::string::npos);
}

}  // namespace
}  // namespace lathe::formats
