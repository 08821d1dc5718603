#include "formats/safetensors_reader.h"

#include <algorithm>

#include "base/json.h"

namespace lathe::formats {
namespace {

// Real headers have a few hundred kilobytes; the format's own bound is 100 MB.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 8;  // tensors are two levels down

// JSON names are arbitrary text; control characters never appear in real ones and would garble messages.
void check_name(const std::string& name, const std::string& file) {
  if (name.empty() || std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    fail(file, "has a tensor whose name is empty or has control characters");
  }
}

std::uint64_t size_of(const nlohmann::json& value, std::string_view what, std::string_view where) {
  if (!value.is_number_unsigned()) fail(where, "{} is not a non-negative integer", what);
  return value.get<std::uint64_t>();
}

DType dtype_of(const nlohmann::json& json, const std::string& where) {
  const auto it = json.find("dtype");
  if (it == json.end() || !it->is_string()) fail(where, "\"dtype\" is missing or not a string");
  return safetensors_dtype(it->get_ref<const std::string&>(), where);
}

SafetensorsEntry read_entry(const std::string& name, const nlohmann::json& json, const std::string& file) {
  check_name(name, file);
  const std::string where = fmt::format("{}, tensor \"{}\"", file, name);
  if (!json.is_object()) fail(where, "its header entry is not an object");
  SafetensorsEntry entry;
  entry.name = name;
  entry.dtype = dtype_of(json, where);
  const auto shape = json.find("shape"), offsets = json.find("data_offsets");
  if (shape == json.end() || !shape->is_array()) fail(where, "\"shape\" is missing or not an array");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2) {
    fail(where, "\"data_offsets\" is missing or not a pair");
  }
  if (shape->size() > Shape::kMaxRank)
    fail(where, "has {} dimensions, expected at most {}", shape->size(), Shape::kMaxRank);
  std::vector<std::uint64_t> extents;
  for (const nlohmann::json& extent : *shape) extents.push_back(size_of(extent, "a dimension", where));
  entry.shape = Shape::of(extents, where);
  const std::uint64_t begin = size_of((*offsets)[0], "an offset", where),
                      end = size_of((*offsets)[1], "an offset", where);
  if (end < begin) fail(where, "ends at {}, before it begins at {}", end, begin);
  entry.offset = begin;
  entry.bytes = checked_mul(entry.shape.elements(), dtype_bytes(entry.dtype), "bytes of a tensor", where);
  if (entry.bytes != end - begin) {
    fail(where, "{} of shape {} needs {} bytes, but the header says {}", dtype_name(entry.dtype), entry.shape.text(),
         entry.bytes, end - begin);
  }
  return entry;
}

std::map<std::string, std::string> read_metadata(const nlohmann::json& json, const std::string& file) {
  if (!json.is_object()) fail(file, "\"__metadata__\" is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) fail(file, "\"__metadata__\" has a value that is not a string under \"{}\"", key);
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

}  // namespace

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto it = std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

bool is_safetensors(const Bytes& bytes) {
  if (bytes.size() < 10) return false;
  const auto size = ByteReader(bytes).read<std::uint64_t>("the header length");
  return size >= 2 && bytes.text()[8] == '{' && (size <= kMaxHeaderBytes || size <= bytes.size() - 8);
}

DType safetensors_dtype(std::string_view name, std::string_view where) {
  static constexpr DType kAll[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                                   DType::kI32, DType::kI16, DType::kI8,  DType::kU64,  DType::kU32,
                                   DType::kU16, DType::kU8,  DType::kBool};
  for (const DType dtype : kAll) {
    if (dtype_name(dtype) == name) return dtype;
  }
  throw Error(fmt::format("the dtype \"{}\" is not supported", name.substr(0, 32)), std::string(where),
              "save the model as BF16, F16 or F32");
}

SafetensorsFile read_safetensors_header(const Bytes& bytes, bool complete) {
  ByteReader reader(bytes);
  const std::string& name = reader.name();
  const auto size = reader.read<std::uint64_t>("the header length");
  if (size > kMaxHeaderBytes) fail(name, "has a header of {} bytes, expected at most {}", size, kMaxHeaderBytes);
  const nlohmann::json header = parse_json_sorted(reader.string(size, "the header"), name, kMaxDepth);
  if (!header.is_object()) fail(name, "the header is not a JSON object");
  SafetensorsFile file;
  file.data_offset = reader.position();
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      file.metadata = read_metadata(value, name);
    } else {
      file.tensors.push_back(read_entry(key, value, name));
    }
  }
  std::stable_sort(file.tensors.begin(), file.tensors.end(), [](const auto& a, const auto& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : file.tensors) {
    if (entry.offset != end) {
      fail(name, "tensor \"{}\" begins at {}, expected {}: tensors must lie one after the other", entry.name,
           entry.offset, end);
    }
    end = checked_add(entry.offset, entry.bytes, "end of a tensor", name);
  }
  if (complete && end != reader.remaining()) {
    throw Error(fmt::format("the tensors take {} bytes, but {} follow the header", end, reader.remaining()), name,
                "the file is truncated or damaged");
  }
  return file;
}

Bytes safetensors_data(const Bytes& bytes, const SafetensorsFile& file, const SafetensorsEntry& entry) {
  const std::uint64_t begin = checked_add(file.data_offset, entry.offset, "a tensor's offset", bytes.name());
  return bytes.slice(begin, entry.bytes, fmt::format("tensor \"{}\"", entry.name));
}

PackedTensor safetensors_tensor(const Bytes& bytes, const SafetensorsFile& file, const SafetensorsEntry& entry,
                                bool with_data) {
  const Codec& codec = codec_named(dtype_name(entry.dtype));
  if (!with_data) return PackedTensor{entry.name, &codec, {}, entry.shape, {}};
  return packed_blocks(entry.name, codec, entry.shape, safetensors_data(bytes, file, entry));
}

}  // namespace lathe::formats
