#include "formats/gguf_writer.h"

#include <bit>
#include <memory>

#include "base/cancel.h"
#include "base/progress.h"
#include "formats/gguf_reader.h"

namespace lathe::formats {
namespace {

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& out, std::string_view text) {
  append(out, std::uint64_t{text.size()});
  out.append(text);
}

template <class T>
void append_scalar(std::string& out, MetaType type, T value) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kBool:
      return append(out, static_cast<std::uint8_t>(value));
    case MetaType::kI8:
      return append(out, static_cast<std::int8_t>(value));
    case MetaType::kU16:
      return append(out, static_cast<std::uint16_t>(value));
    case MetaType::kI16:
      return append(out, static_cast<std::int16_t>(value));
    case MetaType::kU32:
      return append(out, static_cast<std::uint32_t>(value));
    case MetaType::kI32:
      return append(out, static_cast<std::int32_t>(value));
    case MetaType::kF32:
      return append(out, static_cast<float>(value));
    case MetaType::kU64:
      return append(out, static_cast<std::uint64_t>(value));
    case MetaType::kI64:
      return append(out, static_cast<std::int64_t>(value));
    case MetaType::kF64:
      return append(out, static_cast<double>(value));
    case MetaType::kString:
    case MetaType::kArray:
      break;
  }
}

void append_value(std::string& out, const MetaValue& value) {
  const auto type = static_cast<std::uint32_t>(value.type);
  if (!value.is_array) {
    append(out, type);
    std::visit(
        [&](const auto& v) {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<V, std::string>)
            append_string(out, v);
          else if constexpr (std::is_arithmetic_v<V>)
            append_scalar(out, value.type, v);
        },
        value.value);
    return;
  }
  append(out, static_cast<std::uint32_t>(MetaType::kArray));
  append(out, type);
  if (const auto* strings = std::get_if<std::vector<std::string>>(&value.value)) {
    append(out, std::uint64_t{strings->size()});
    for (const std::string& text : *strings) append_string(out, text);
  } else {
    const Bytes& bytes = std::get<Bytes>(value.value);
    append(out, bytes.size() / meta_type_bytes(value.type));
    out.append(bytes.text());
  }
}

std::uint64_t aligned(std::uint64_t size, std::uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

int ggml_type(const TensorSource& tensor, const std::string& file) {
  const BlockFormat* format = block_format(*tensor.codec);
  if (format == nullptr || format->ggml_type < 0) {
    throw Error(fmt::format("GGUF files cannot hold {} tensors", tensor.codec->name()),
                fmt::format("{}, tensor \"{}\"", file, tensor.name),
                "save as .lathe, or choose another codec with --dtype");
  }
  return format->ggml_type;
}

std::string header_of(const Metadata& metadata, std::span<const TensorSource> tensors, std::uint64_t alignment,
                      const std::string& file) {
  std::string out(kGgufMagic);
  append(out, std::uint32_t{3});
  append(out, std::uint64_t{tensors.size()});
  append(out, std::uint64_t{metadata.items().size()});
  append_gguf_metadata(metadata, out);
  std::uint64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    append_string(out, tensor.name);
    append(out, static_cast<std::uint32_t>(tensor.shape.rank()));
    for (int axis = tensor.shape.rank() - 1; axis >= 0; --axis) append(out, tensor.shape[axis]);
    append(out, static_cast<std::uint32_t>(ggml_type(tensor, file)));
    append(out, offset);
    offset += aligned(source_bytes(tensor), alignment);
  }
  return out;
}

// How many tensors go into each file.
std::vector<std::size_t> split(std::span<const TensorSource> tensors, std::uint64_t split_bytes) {
  std::vector<std::size_t> counts(1, 0);
  std::uint64_t size = 0;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t bytes = source_bytes(tensor);
    if (split_bytes > 0 && counts.back() > 0 && size + bytes > split_bytes) {
      counts.push_back(0);
      size = 0;
    }
    ++counts.back();
    size += bytes;
  }
  return counts;
}

Metadata split_metadata(const Metadata& metadata, std::size_t index, std::size_t count, std::size_t n_tensors) {
  Metadata result = index == 0 ? metadata : Metadata(metadata.file());
  if (count > 1) {
    result.set("split.no", {MetaType::kU16, false, std::uint64_t{index}});
    result.set("split.count", {MetaType::kU16, false, std::uint64_t{count}});
    result.set("split.tensors.count", {MetaType::kI32, false, static_cast<std::int64_t>(n_tensors)});
    if (const MetaValue* alignment = metadata.find("general.alignment")) result.set("general.alignment", *alignment);
  }
  return result;
}

std::uint64_t alignment_of(const Metadata& metadata, const std::string& file) {
  const std::int64_t alignment = metadata.integer("general.alignment").value_or(32);
  if (alignment <= 0 || !std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    fail(file, "general.alignment is {}, expected a power of two", alignment);
  }
  return static_cast<std::uint64_t>(alignment);
}

}  // namespace

void append_gguf_metadata(const Metadata& metadata, std::string& out) {
  for (const auto& [key, value] : metadata.items()) {
    append_string(out, key);
    append_value(out, value);
  }
}

SaveResult write_gguf(const std::filesystem::path& path, const Metadata& metadata,
                      std::span<const TensorSource> tensors, std::uint64_t split_bytes) {
  const std::uint64_t alignment = alignment_of(metadata, path.string());
  const std::vector<std::size_t> counts = split(tensors, split_bytes);
  if (counts.size() > 99999) fail(path.string(), "would need {} files", counts.size());
  const std::string stem = (path.parent_path() / path.stem()).string();
  Progress progress(fmt::format("writing {}", path.filename().string()), tensors.size());
  std::vector<std::unique_ptr<AtomicFile>> files;
  SaveResult result;
  std::span<const TensorSource> rest = tensors;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto count = static_cast<std::uint32_t>(counts.size());
    files.push_back(std::make_unique<AtomicFile>(
        counts.size() == 1
            ? path
            : std::filesystem::path(split_name(stem, static_cast<std::uint32_t>(i) + 1, count, ".gguf"))));
    AtomicFile& file = *files.back();
    file.write(header_of(split_metadata(metadata, i, counts.size(), tensors.size()), rest.first(counts[i]), alignment,
                         path.string()));
    file.pad_to(alignment);
    for (const TensorSource& tensor : rest.first(counts[i])) {
      interrupt_token().check();
      write_and_drop(file, tensor.read().parts.at(0).data);
      file.pad_to(alignment);
      progress.advance();
    }
    rest = rest.subspan(counts[i]);
    result.bytes += file.position();
  }
  result.tensors = tensors.size();
  // The first file, which names the others, comes last.
  for (auto file = files.rbegin(); file != files.rend(); ++file) (*file)->commit();
  return result;
}

}  // namespace lathe::formats
