#include "formats/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "tensor/codecs/block_codec.h"

namespace lathe::formats {
namespace {

// Real files have below a hundred keys; the bound keeps the look-up by name linear without being felt.
constexpr std::uint64_t kMaxKeys = 8192;
constexpr std::uint64_t kMaxAlignment = 1 << 16;
constexpr std::uint64_t kMaxNameBytes = 65535;
// The least a key-value, a tensor entry and a string take in the file.
constexpr std::uint64_t kMinKeyBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8, kMinStringBytes = 8;

void check_count(std::uint64_t count, std::uint64_t least_bytes, const ByteReader& reader, std::string_view what) {
  if (count > reader.remaining() / least_bytes) {
    throw Error(fmt::format("the file promises {} {}, which cannot fit into the {} bytes that follow", count, what,
                            reader.remaining()),
                reader.name(), "the file is truncated or damaged");
  }
}

std::string read_string(ByteReader& reader, std::string_view what) {
  const auto size = reader.read<std::uint64_t>(what);
  return reader.string(size, what);
}

// Keys and tensor names end up in messages and JSON, so only printable ASCII passes, which is all that real files use.
std::string read_name(ByteReader& reader, std::string_view what) {
  std::string name = read_string(reader, what);
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (name.empty() || name.size() > kMaxNameBytes || !printable) {
    throw Error(fmt::format("the {} at offset {} is empty or has characters other than printable ASCII", what,
                            reader.position() - name.size()),
                reader.name(), "the file is damaged");
  }
  return name;
}

MetaType read_type(ByteReader& reader, std::string_view key) {
  const auto type = reader.read<std::uint32_t>("a metadata type");
  if (type > static_cast<std::uint32_t>(MetaType::kF64)) {
    fail(reader.name(), "metadata key \"{}\" has the unknown type {}", key, type);
  }
  return static_cast<MetaType>(type);
}

MetaValue read_array(ByteReader& reader, std::string_view key) {
  const MetaType type = read_type(reader, key);
  const auto count = reader.read<std::uint64_t>("an array's length");
  if (type == MetaType::kArray) fail(reader.name(), "metadata key \"{}\" is an array of arrays", key);
  if (type != MetaType::kString) {
    const std::uint64_t size = checked_mul(count, meta_type_bytes(type), "bytes of a metadata array", reader.name());
    return {type, true, reader.take(size, fmt::format("metadata key \"{}\"", key))};
  }
  check_count(count, kMinStringBytes, reader, fmt::format("strings under \"{}\"", key));
  std::vector<std::string> strings;
  strings.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) strings.push_back(read_string(reader, "a string of a metadata array"));
  return {type, true, std::move(strings)};
}

MetaValue read_value(ByteReader& reader, std::string_view key) {
  const MetaType type = read_type(reader, key);
  const auto integer = [&](auto v) -> MetaValue {
    if constexpr (std::is_signed_v<decltype(v)>)
      return {type, false, std::int64_t{v}};
    else
      return {type, false, std::uint64_t{v}};
  };
  constexpr std::string_view kWhat = "a metadata value";
  switch (type) {
    case MetaType::kU8:
      return integer(reader.read<std::uint8_t>(kWhat));
    case MetaType::kI8:
      return integer(reader.read<std::int8_t>(kWhat));
    case MetaType::kU16:
      return integer(reader.read<std::uint16_t>(kWhat));
    case MetaType::kI16:
      return integer(reader.read<std::int16_t>(kWhat));
    case MetaType::kU32:
      return integer(reader.read<std::uint32_t>(kWhat));
    case MetaType::kI32:
      return integer(reader.read<std::int32_t>(kWhat));
    case MetaType::kU64:
      return integer(reader.read<std::uint64_t>(kWhat));
    case MetaType::kI64:
      return integer(reader.read<std::int64_t>(kWhat));
    case MetaType::kF32:
      return {type, false, double{reader.read<float>(kWhat)}};
    case MetaType::kF64:
      return {type, false, reader.read<double>(kWhat)};
    case MetaType::kBool: {
      const auto v = reader.read<std::uint8_t>(kWhat);
      if (v > 1) fail(reader.name(), "metadata key \"{}\" is a boolean of value {}", key, v);
      return integer(v);
    }
    case MetaType::kString:
      return MetaValue::string(read_string(reader, kWhat));
    case MetaType::kArray:
      return read_array(reader, key);
  }
  fail(reader.name(), "metadata key \"{}\" has an unknown type", key);
}

GgufTensor read_tensor(ByteReader& reader) {
  GgufTensor tensor;
  tensor.name = read_name(reader, "tensor name");
  const std::string where = fmt::format("{}, tensor \"{}\"", reader.name(), tensor.name);
  const auto rank = reader.read<std::uint32_t>("a tensor's rank");
  if (rank == 0 || rank > Shape::kMaxRank) fail(where, "has {} dimensions, expected 1 to {}", rank, Shape::kMaxRank);
  std::vector<std::uint64_t> extents(rank);
  for (auto extent = extents.rbegin(); extent != extents.rend(); ++extent) {
    *extent = reader.read<std::uint64_t>("a tensor's dimensions");
    if (*extent == 0) fail(where, "has a dimension of size zero");
  }
  tensor.shape = Shape::of(extents, where);
  const auto type = reader.read<std::uint32_t>("a tensor's type");
  tensor.codec = type <= INT32_MAX ? find_codec_by_ggml_type(static_cast<int>(type)) : nullptr;
  if (tensor.codec == nullptr) {
    throw Error(fmt::format("has the tensor type {}, which is not supported", type), where,
                "convert the model again in another quantization; \"quantize --list\" shows the codecs known");
  }
  tensor.offset = reader.read<std::uint64_t>("a tensor's offset");
  tensor.bytes = checked_mul(tensor.shape.rows(), row_bytes(*block_format(*tensor.codec), tensor.shape.cols(), where),
                             "bytes of a tensor", where);
  return tensor;
}

std::uint64_t read_alignment(const Metadata& metadata) {
  const auto alignment = metadata.integer("general.alignment");
  if (!alignment) return 32;
  const auto value = static_cast<std::uint64_t>(*alignment);
  if (*alignment <= 0 || !std::has_single_bit(value) || value > kMaxAlignment) {
    fail(metadata.file(), "general.alignment is {}, expected a power of two up to {}", *alignment, kMaxAlignment);
  }
  return value;
}

void check_version(std::uint32_t version, const std::string& file) {
  if (version == 2 || version == 3) return;
  if (version != 0 && (version & 0xffffu) == 0) {
    throw Error("is a big-endian GGUF file", file, "convert the model on a little-endian machine");
  }
  if (version == 1)
    throw Error("is a GGUF file of version 1", file, "convert the model again; versions 2 and 3 are read");
  fail(file, "is a GGUF file of version {}, expected 2 or 3", version);
}

}  // namespace

bool is_gguf(const Bytes& bytes) { return bytes.text().starts_with(kGgufMagic); }

Metadata read_gguf_metadata(ByteReader& reader, std::uint64_t n_keys) {
  Metadata metadata(reader.name());
  check_count(n_keys, kMinKeyBytes, reader, "metadata keys");
  if (n_keys > kMaxKeys) fail(reader.name(), "has {} metadata keys, expected at most {}", n_keys, kMaxKeys);
  for (std::uint64_t i = 0; i < n_keys; ++i) {
    std::string key = read_name(reader, "metadata key");
    if (metadata.has(key)) fail(reader.name(), "metadata key \"{}\" appears twice", key);
    MetaValue value = read_value(reader, key);
    metadata.set(std::move(key), std::move(value));
  }
  return metadata;
}

GgufFile read_gguf_header(const Bytes& bytes) {
  ByteReader reader(bytes);
  if (!is_gguf(bytes)) fail(reader.name(), "is not a GGUF file");
  reader.skip(kGgufMagic.size(), "the magic");
  GgufFile file;
  file.version = reader.read<std::uint32_t>("the version");
  check_version(file.version, reader.name());
  const auto n_tensors = reader.read<std::uint64_t>("the number of tensors");
  const auto n_keys = reader.read<std::uint64_t>("the number of metadata keys");
  file.metadata = read_gguf_metadata(reader, n_keys);
  file.alignment = read_alignment(file.metadata);
  check_count(n_tensors, kMinTensorBytes, reader, "tensors");
  std::unordered_set<std::string> names;
  for (std::uint64_t i = 0; i < n_tensors; ++i) {
    file.tensors.push_back(read_tensor(reader));
    const GgufTensor& tensor = file.tensors.back();
    if (tensor.offset % file.alignment != 0) {
      fail(reader.name(), "tensor \"{}\" starts at offset {}, which is not a multiple of {}", tensor.name,
           tensor.offset, file.alignment);
    }
    if (!names.insert(tensor.name).second) fail(reader.name(), "tensor \"{}\" appears twice", tensor.name);
  }
  const std::uint64_t rest = reader.position() % file.alignment;
  file.data_offset = reader.position() + (rest == 0 ? 0 : file.alignment - rest);
  return file;
}

PackedTensor gguf_tensor(const Bytes& bytes, const GgufFile& file, const GgufTensor& tensor, bool with_data) {
  if (!with_data) return PackedTensor{tensor.name, tensor.codec, {}, tensor.shape, {}};
  const std::uint64_t begin = checked_add(file.data_offset, tensor.offset, "a tensor's offset", bytes.name());
  Bytes data = bytes.slice(begin, tensor.bytes, fmt::format("tensor \"{}\"", tensor.name));
  return packed_blocks(tensor.name, *tensor.codec, tensor.shape, std::move(data));
}

SplitName parse_split_name(const std::string& file_name, std::string_view extension) {
  // <stem>-ddddd-of-ddddd<extension>
  constexpr std::size_t kTail = 15;
  SplitName split;
  if (!file_name.ends_with(extension) || file_name.size() <= kTail + extension.size()) return split;
  const std::string_view name(file_name.data(), file_name.size() - extension.size());
  const std::string_view tail = name.substr(name.size() - kTail);
  const auto number = [&](std::string_view digits) -> std::uint32_t {
    std::uint32_t value = 0;
    for (const char c : digits) {
      if (c < '0' || c > '9') return 0;
      value = value * 10 + static_cast<std::uint32_t>(c - '0');
    }
    return value;
  };
  const std::uint32_t index = number(tail.substr(1, 5)), count = number(tail.substr(10, 5));
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || index == 0 || count == 0 || index > count) return split;
  return {std::string(name.substr(0, name.size() - kTail)), index, count};
}

std::string split_name(std::string_view stem, std::uint32_t index, std::uint32_t count, std::string_view extension) {
  return fmt::format("{}-{:05}-of-{:05}{}", stem, index, count, extension);
}

}  // namespace lathe::formats
