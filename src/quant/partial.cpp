// A layer's file is a JSON line, padded to 64 bytes, that describes the tensors and the sizes of their parts and has a
// hash of both, and then the parts' bytes, each padded likewise.
#include "quant/partial.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"

namespace lathe::quant {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAlign = 64;

std::uint64_t aligned(std::uint64_t offset) { return (offset + kAlign - 1) / kAlign * kAlign; }

std::string hash_of(const Json& descriptions, const std::map<std::string, PackedTensor>& tensors) {
  std::uint64_t hash = hash64(descriptions.dump());
  for (const auto& [name, tensor] : tensors) {
    for (const Part& part : tensor.parts) hash = hash64(part.data.span(), hash);
  }
  return fmt::format("{:016x}", hash);
}

std::map<std::string, PackedTensor> tensors_in(const Bytes& bytes, const std::string& path) {
  const std::size_t end = bytes.text().find('\n');
  if (end == std::string_view::npos) fail(path, "has no header");
  const Json header = parse_json(std::string(bytes.text().substr(0, end)), path);
  std::uint64_t offset = aligned(end + 1);
  std::map<std::string, PackedTensor> tensors;
  for (const auto& entry : header.at("tensors")) {
    std::vector<Bytes> parts;
    for (const auto& size : entry.at("parts")) {
      parts.push_back(bytes.slice(offset, size.get<std::uint64_t>(), "a finished layer"));
      offset = aligned(offset + size.get<std::uint64_t>());
    }
    const std::string name = entry.at("name").get<std::string>();
    const auto extents = entry.at("shape").get<std::vector<std::uint64_t>>();
    tensors[name] =
        packed_parts(name, codec_named(entry.at("codec").get<std::string>()), Shape::of(extents, path),
                     {entry.at("bits").get<int>(), entry.at("group_size").get<int>(), entry.at("row_shift").get<int>(),
                      entry.at("stored").get<std::uint64_t>(), entry.at("activation_bits").get<int>()},
                     std::move(parts));
  }
  if (header.at("hash").get<std::string>() != hash_of(header.at("tensors"), tensors)) {
    fail(path, "its bytes are not those that were written");
  }
  drop_pages(bytes.span());
  return tensors;
}

}  // namespace

PartialRun::PartialRun(const fs::path& output, const std::string& fingerprint) : folder_(output.string() + ".partial") {
  const fs::path key = folder_ / "run";
  std::error_code ignored;
  if (fs::exists(key, ignored)) {
    if (read_file(key, 1 << 20) == fingerprint) {
      log_info("{}: going on with the finished layers of an earlier run", folder_.string());
      return;
    }
    log_info("{}: of a run with another model or other options, starting again", folder_.string());
    fs::remove_all(folder_);
  } else if (fs::exists(folder_, ignored) && !fs::is_empty(folder_, ignored)) {
    throw Error("is in the way: it was not made by lathe quantize", folder_.string(),
                "move it, or name another output");
  }
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed) {
    throw Error(fmt::format("cannot create the folder: {}", failed.message()), folder_.string(),
                "name an output where files can be written");
  }
  AtomicFile file(key);
  file.write(fingerprint);
  file.commit();
}

fs::path PartialRun::file_of(int layer) const { return folder_ / fmt::format("layer-{:05}", layer); }

std::optional<std::map<std::string, PackedTensor>> PartialRun::load(int layer) const {
  const fs::path path = file_of(layer);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  try {
    return tensors_in(map_file(path), path.string());
  } catch (const std::exception& error) {  // Error, or what the JSON library throws for members of other kinds
    throw Error(fmt::format("is no finished layer: {}", error.what()), path.string(), "remove it and run again");
  }
}

std::map<std::string, PackedTensor> PartialRun::store(int layer,
                                                      const std::map<std::string, PackedTensor>& tensors) const {
  Json descriptions = Json::array();
  for (const auto& [name, tensor] : tensors) {
    Json shape = Json::array(), parts = Json::array();
    for (int axis = 0; axis < tensor.shape.rank(); ++axis) shape.push_back(tensor.shape[axis]);
    for (const Part& part : tensor.parts) parts.push_back(part.data.size());
    descriptions.push_back({{"name", name},
                            {"codec", tensor.codec->name()},
                            {"bits", tensor.params.bits},
                            {"group_size", tensor.params.group_size},
                            {"row_shift", tensor.params.row_shift},
                            {"stored", tensor.params.stored},
                            {"activation_bits", tensor.params.activation_bits},
                            {"shape", std::move(shape)},
                            {"parts", std::move(parts)}});
  }
  AtomicFile file(file_of(layer));
  const std::string hash = hash_of(descriptions, tensors);
  file.write(Json{{"hash", hash}, {"tensors", std::move(descriptions)}}.dump() + "\n");
  file.pad_to(kAlign);
  for (const auto& [name, tensor] : tensors) {
    for (const Part& part : tensor.parts) {
      file.write(part.data.span());
      file.pad_to(kAlign);
    }
  }
  file.commit();
  return load(layer).value();
}

void PartialRun::remove() const {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace lathe::quant
