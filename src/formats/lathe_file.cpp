#include "formats/lathe_file.h"

#include "base/json.h"
#include "formats/architecture_json.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"
#include "formats/load_tokenizer.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_layout.h"
#include "formats/tensor_source.h"
#include "formats/tokenizer_gguf.h"
#include "tensor/codecs/block_codec.h"

namespace lathe::formats {
namespace {

constexpr std::string_view kFormat = "lathe", kVersion = "1";
// Arrays of bytes that are not weights: key-values in GGUF's encoding behind their count.
constexpr std::string_view kSourceKeys = "lathe.source_metadata", kTokenizerKeys = "lathe.tokenizer";

// A tensor of one part lies under its own name, several under "name/part".
std::string part_name(const std::string& tensor, const std::string& part, std::size_t n_parts) {
  return n_parts == 1 ? tensor : fmt::format("{}/{}", tensor, part);
}

nlohmann::json describe(const TensorSource& source) {
  auto shape = nlohmann::json::array();
  for (int axis = 0; axis < source.shape.rank(); ++axis) shape.push_back(source.shape[axis]);
  nlohmann::json json = {{"codec", source.codec->name()}, {"shape", std::move(shape)}};
  if (source.params.bits != 0) json["bits"] = source.params.bits;
  if (source.params.group_size != 0) json["group_size"] = source.params.group_size;
  if (source.params.row_shift != 0) json["row_shift"] = source.params.row_shift;
  if (source.params.stored != 0) json["stored"] = source.params.stored;
  if (source.params.activation_bits != 0) json["activation_bits"] = source.params.activation_bits;
  return json;
}

void add_items(const TensorSource& source, std::vector<SafetensorsItem>& items) {
  const std::vector<PartSpec> parts = source.codec->parts(source.shape, source.params);
  const BlockFormat* format = block_format(*source.codec);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    SafetensorsItem item{part_name(source.name, parts[i].name, parts.size()), parts[i].dtype, parts[i].shape, {}, 0};
    if (format != nullptr) item.alignment = block_alignment(*format);
    item.write = [read = source.read, i](AtomicFile& file) { write_and_drop(file, read().parts.at(i).data); };
    items.push_back(std::move(item));
  }
}

SafetensorsItem keys_item(std::string_view name, const Metadata& metadata) {
  std::string bytes;
  const std::uint64_t count = metadata.items().size();
  bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
  append_gguf_metadata(metadata, bytes);
  const Shape shape{bytes.size()};
  return {std::string(name), DType::kU8, shape, [bytes = std::move(bytes)](AtomicFile& file) { file.write(bytes); }, 0};
}

Metadata read_keys(const Bytes& bytes, const SafetensorsFile& file, std::string_view name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return Metadata(bytes.name());
  ByteReader reader(safetensors_data(bytes, file, *entry));
  const auto count = reader.read<std::uint64_t>("the number of keys");
  return read_gguf_metadata(reader, count);
}

const std::string& need(const SafetensorsFile& file, const std::string& key, const std::string& where) {
  const auto it = file.metadata.find(key);
  if (it == file.metadata.end()) fail(where, "\"{}\" is missing from the metadata", key);
  return it->second;
}

std::uint64_t integer(const nlohmann::json& json, const char* key, std::uint64_t most, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end()) return 0;
  if (!it->is_number_unsigned() || it->get<std::uint64_t>() > most) fail(where, "\"{}\" is out of range", key);
  return it->get<std::uint64_t>();
}

int small_integer(const nlohmann::json& json, const char* key, const std::string& where) {
  return static_cast<int>(integer(json, key, 1 << 20, where));
}

std::size_t count_parts(const Codec& codec, const Shape& shape, const CodecParams& params, const std::string& where) {
  try {
    return codec.parts(shape, params).size();
  } catch (const Error& error) {  // parameters that the codec does not have
    throw error.within(where);
  }
}

PackedTensor read_tensor(const std::string& name, const nlohmann::json& json, const Bytes& bytes,
                         const SafetensorsFile& file,
                         const std::map<std::string_view, const SafetensorsEntry*>& entries, bool with_data) {
  const std::string where = fmt::format("{}, tensor \"{}\"", bytes.name(), name);
  if (!json.is_object()) fail(where, "its description is not an object");
  const auto codec_name = json.find("codec"), shape_json = json.find("shape");
  if (codec_name == json.end() || !codec_name->is_string()) fail(where, "\"codec\" is missing or not a string");
  if (shape_json == json.end() || !shape_json->is_array() || shape_json->size() > Shape::kMaxRank) {
    fail(where, "\"shape\" is missing or not an array of at most {} numbers", Shape::kMaxRank);
  }
  const Codec* codec = find_codec(codec_name->get_ref<const std::string&>());
  if (codec == nullptr) {
    throw Error(fmt::format("the codec \"{}\" is unknown", codec_name->get_ref<const std::string&>()), where,
                "a newer version of Lathe may know it");
  }
  std::vector<std::uint64_t> extents;
  for (const auto& extent : *shape_json) {
    if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() == 0)
      fail(where, "a dimension is not a positive integer");
    extents.push_back(extent.get<std::uint64_t>());
  }
  const Shape shape = Shape::of(extents, where);
  const CodecParams params{small_integer(json, "bits", where), small_integer(json, "group_size", where),
                           small_integer(json, "row_shift", where),
                           integer(json, "stored", std::uint64_t{1} << 48, where),
                           small_integer(json, "activation_bits", where)};
  if (params.activation_bits != 0 && !codec->takes_activation_bits()) {
    fail(where, "{} has no products with {}-bit activations", codec->name(), params.activation_bits);
  }
  const std::size_t n_parts = count_parts(*codec, shape, params, where);
  if (!with_data) return PackedTensor{name, codec, params, shape, {}};
  return read_parts(name, *codec, params, shape, [&](const PartSpec& part) {
    const auto entry = entries.find(part_name(name, part.name, n_parts));
    if (entry == entries.end()) fail(where, "its part \"{}\" is missing", part.name);
    if (entry->second->dtype != part.dtype || entry->second->shape != part.shape) {
      fail(where, "its part \"{}\" is {} {}, expected {} {}", part.name, dtype_name(entry->second->dtype),
           entry->second->shape.text(), dtype_name(part.dtype), part.shape.text());
    }
    return safetensors_data(bytes, file, *entry->second);
  });
}

Json generation_to_json(const GenerationDefaults& g) {
  return {{"temperature", g.temperature},
          {"top_p", g.top_p},
          {"min_p", g.min_p},
          {"repeat_penalty", g.repeat_penalty},
          {"top_k", g.top_k}};
}

GenerationDefaults generation_from_json(const Json& json, const std::string& where) {
  GenerationDefaults g;
  g.temperature = json_get_or<float>(json, "temperature", -1, where);
  g.top_p = json_get_or<float>(json, "top_p", -1, where);
  g.min_p = json_get_or<float>(json, "min_p", -1, where);
  g.repeat_penalty = json_get_or<float>(json, "repeat_penalty", -1, where);
  g.top_k = json_get_or<int>(json, "top_k", -1, where);
  return g;
}

}  // namespace

bool is_lathe(const Bytes& bytes) {
  if (!is_safetensors(bytes)) return false;
  const auto header = read_safetensors_header(bytes, false).metadata;
  const auto format = header.find("format");
  return format != header.end() && format->second == kFormat;
}

ModelFile load_lathe(const Bytes& bytes, const LoadOptions& options) {
  const SafetensorsFile file = read_safetensors_header(bytes, options.weights);
  const std::string& where = bytes.name();
  if (const std::string& version = need(file, "lathe.version", where); version != kVersion) {
    throw Error(fmt::format("is a .lathe file of version {}, expected {}", version, kVersion), where,
                "a newer version of Lathe reads it");
  }
  ModelFile model;
  model.path = where;
  model.kind = FileKind::kLathe;
  model.architecture = architecture_from_json(parse_json(need(file, "lathe.architecture", where), where, 8), where);
  std::map<std::string_view, const SafetensorsEntry*> entries;
  for (const SafetensorsEntry& entry : file.tensors) entries[entry.name] = &entry;
  const nlohmann::json tensors = parse_json_sorted(need(file, "lathe.tensors", where), where, 8);
  if (!tensors.is_object()) fail(where, "\"lathe.tensors\" is not an object");
  for (const auto& [name, json] : tensors.items()) {
    model.weights.add(read_tensor(name, json, bytes, file, entries, options.weights));
  }
  if (const auto it = file.metadata.find("lathe.chat_template"); it != file.metadata.end())
    model.chat_template = it->second;
  if (const auto it = file.metadata.find("lathe.generation"); it != file.metadata.end()) {
    model.generation = generation_from_json(parse_json(it->second, where, 8), where);
  }
  model.metadata = read_keys(bytes, file, kSourceKeys);
  attach_tokenizer(model, options, [&]() -> std::optional<text::TokenizerSpec> {
    if (has_gguf_tokenizer(model.metadata)) return read_gguf_tokenizer(model.metadata);
    return tokenizer_from_gguf(read_keys(bytes, file, kTokenizerKeys));
  });
  return model;
}

SaveResult save_lathe(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options) {
  std::vector<SafetensorsItem> items;
  auto tensors = nlohmann::json::object();
  std::uint64_t n_tensors = 0;
  for (const TensorSource& source : tensor_sources(model, options.dtype, model.architecture.rope_layout)) {
    tensors[source.name] = describe(source);
    add_items(source, items);
    ++n_tensors;
  }
  if (!model.metadata.items().empty()) items.push_back(keys_item(kSourceKeys, model.metadata));
  if (model.tokenizer_spec != nullptr && !has_gguf_tokenizer(model.metadata)) {
    Metadata keys(path.string());
    write_gguf_tokenizer(*model.tokenizer_spec, keys);
    items.push_back(keys_item(kTokenizerKeys, keys));
  }
  SafetensorsMetadata metadata = {{"format", std::string(kFormat)},
                                  {"lathe.version", std::string(kVersion)},
                                  {"lathe.architecture", architecture_to_json(model.architecture).dump()},
                                  {"lathe.tensors", tensors.dump()},
                                  {"lathe.generation", generation_to_json(model.generation).dump()}};
  if (!model.chat_template.empty()) metadata["lathe.chat_template"] = model.chat_template;
  SaveResult result = write_safetensors(path, items, metadata);
  result.tensors = n_tensors;
  return result;
}

}  // namespace lathe::formats
