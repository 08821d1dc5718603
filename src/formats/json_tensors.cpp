#include "formats/json_tensors.h"

#include <array>

#include "arch/families.h"
#include "base/json.h"
#include "formats/load_tokenizer.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;

std::uint32_t size_field(const nlohmann::json& config, const char* key, const std::string& where) {
  const auto it = config.find(key);
  if (it == config.end() || !it->is_number_unsigned()) fail(where, "\"config\" has no \"{}\"", key);
  return narrow<std::uint32_t>(it->get<std::uint64_t>(), key, where);
}

// gpt-nano, gpt-mini, ...: GPT-2 with a feed-forward layer of four times the width and an output head of its own.
arch::Architecture architecture_of_config(const nlohmann::json& config, const std::string& where) {
  arch::Architecture a = arch::family_named("gpt2", where).defaults;
  if (const auto name = config.find("model_type"); name != config.end() && name->is_string())
    a.name = name->get<std::string>();
  a.n_layers = size_field(config, "n_layer", where);
  a.n_heads = a.n_kv_heads = size_field(config, "n_head", where);
  a.width = size_field(config, "n_embd", where);
  a.vocab_size = size_field(config, "vocab_size", where);
  a.context_length = size_field(config, "block_size", where);
  if (a.n_heads == 0 || a.width % a.n_heads != 0)
    fail(where, "width {} does not divide into {} heads", a.width, a.n_heads);
  a.head_dim = a.v_head_dim = a.width / a.n_heads;
  a.ffn_width = narrow<std::uint32_t>(4 * std::uint64_t{a.width}, "feed-forward width", where);
  a.tied_embeddings = false;
  arch::validate(a, where);
  return a;
}

PackedTensor read_tensor(const std::string& name, const nlohmann::json& json, bool with_data,
                         const std::string& where) {
  const auto shape_json = json.find("shape"), data = json.find("data"), dtype = json.find("dtype");
  if (shape_json == json.end() || !shape_json->is_array() || data == json.end() || !data->is_string()) {
    fail(where, "\"shape\" or \"data\" is missing");
  }
  if (dtype != json.end() && *dtype != "torch.float32") fail(where, "its dtype is not torch.float32");
  std::vector<std::uint64_t> extents;
  for (const auto& extent : *shape_json) {
    if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() == 0)
      fail(where, "a dimension is not a positive integer");
    extents.push_back(extent.get<std::uint64_t>());
  }
  const Shape shape = Shape::of(extents, where);
  const Codec& codec = codec_named("F32");
  if (!with_data) return PackedTensor{name, &codec, {}, shape, {}};
  return packed_blocks(name, codec, shape,
                       Bytes::copy_of(base64_decode(data->get_ref<const std::string&>(), where), where));
}

}  // namespace

std::string base64_decode(std::string_view text, std::string_view where) {
  static constexpr auto kValues = [] {
    std::array<std::int8_t, 256> values{};
    values.fill(-1);
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < kAlphabet.size(); ++i)
      values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
    return values;
  }();
  if (text.size() % 4 != 0) fail(where, "its base64 data is cut short");
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const bool pad = i + j >= text.size() - padding;
      const int value = pad ? 0 : kValues[static_cast<unsigned char>(text[i + j])];
      if (value < 0) fail(where, "its base64 data has a wrong character at position {}", i + j);
      word = word << 6 | static_cast<std::uint32_t>(value);
    }
    for (const int shift : {16, 8, 0}) out.push_back(static_cast<char>(word >> shift & 0xff));
  }
  out.resize(out.size() - padding);
  return out;
}

bool is_json_tensors(const Bytes& bytes) {
  const std::string_view text = bytes.text().substr(0, 4096);
  return text.starts_with('{') && text.find("\"config\"") != std::string_view::npos &&
         text.find("\"n_embd\"") != std::string_view::npos && text.find("\"block_size\"") != std::string_view::npos;
}

ModelFile load_json_tensors(const Bytes& bytes, const LoadOptions& options) {
  const std::string& where = bytes.name();
  if (bytes.size() > kMaxBytes) fail(where, "has {} bytes, expected at most {}", bytes.size(), kMaxBytes);
  const nlohmann::json json = parse_json_sorted(bytes.text(), where, 8);
  const auto config = json.find("config");
  if (config == json.end() || !config->is_object()) fail(where, "\"config\" is missing or not an object");
  ModelFile model;
  model.path = where;
  model.kind = FileKind::kJsonTensors;
  model.architecture = architecture_of_config(*config, where);
  const arch::Family& family = arch::family_named("gpt2", where);
  for (const auto& [key, value] : json.items()) {
    if (key == "config" || key.ends_with(".attn.bias") || !value.is_object()) continue;
    const std::string name = arch::canonical_name(family, key);
    if (name.empty()) fail(where, "tensor \"{}\" is not part of a GPT-2 model", key);
    model.weights.add(read_tensor(name, value, options.weights, fmt::format("{}, tensor \"{}\"", where, key)));
  }
  attach_tokenizer(model, options, [] { return std::nullopt; });
  return model;
}

}  // namespace lathe::formats
