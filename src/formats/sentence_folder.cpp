#include "formats/sentence_folder.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxSmallFile = 1 << 20;
constexpr std::string_view kModules = "modules.json", kPoolingFolder = "1_Pooling";

constexpr std::pair<const char*, PoolingKind> kModes[] = {{"pooling_mode_mean_tokens", PoolingKind::kMean},
                                                          {"pooling_mode_cls_token", PoolingKind::kCls},
                                                          {"pooling_mode_lasttoken", PoolingKind::kLast}};

void read_pooling(const fs::path& path, arch::Architecture& a) {
  const std::string where = path.string();
  const Json config = parse_json(read_file(path, kMaxSmallFile), where, 8);
  if (!config.is_object()) fail(where, "is not a JSON object");
  std::size_t chosen = 0;
  for (const auto& [key, value] : config.items()) {
    if (!key.starts_with("pooling_mode_") || !value.is_boolean() || !value.get<bool>()) continue;
    ++chosen;
    const auto mode =
        std::find_if(std::begin(kModes), std::end(kModes), [&](const auto& row) { return key == row.first; });
    if (mode == std::end(kModes)) fail(where, "\"{}\" is not supported: known are mean, cls and last token", key);
    a.pooling = mode->second;
  }
  if (chosen > 1) fail(where, "asks for {} poolings side by side, which is not supported", chosen);
}

// The plain name of a folder inside the model's.
std::string module_folder(const Json& module, const std::string& where) {
  const auto path = json_get_or<std::string>(module, "path", "", where);
  if (path.find('/') != std::string::npos || path == "..")
    fail(where, "the module \"{}\" lies outside the folder", path);
  return path;
}

}  // namespace

void read_sentence_folder(const fs::path& folder, arch::Architecture& a) {
  const fs::path modules_path = folder / kModules;
  if (!fs::exists(modules_path)) {
    if (const fs::path path = folder / kPoolingFolder / "config.json"; fs::exists(path)) read_pooling(path, a);
    return;
  }
  const std::string where = modules_path.string();
  const Json modules = parse_json(read_file(modules_path, kMaxSmallFile), where, 8);
  if (!modules.is_array()) fail(where, "is not a list of modules");
  for (const Json& module : modules) {
    if (!module.is_object()) fail(where, "a module is not an object");
    const auto type = json_get<std::string>(module, "type", where);
    const std::string kind = type.substr(type.rfind('.') + 1);
    if (kind == "Pooling") {
      read_pooling(folder / module_folder(module, where) / "config.json", a);
    } else if (kind == "Normalize") {
      a.unit_vectors = true;
    } else if (kind != "Transformer") {
      throw Error(fmt::format("the module \"{}\" is not supported", type), where,
                  "known are Transformer, Pooling and Normalize");
    }
  }
}

void write_sentence_folder(const arch::Architecture& a, const fs::path& folder) {
  if (a.causal && a.pooling == PoolingKind::kMean && !a.unit_vectors) return;
  const auto module = [](int index, const char* path, const char* kind) {
    return Json{{"idx", index},
                {"name", std::to_string(index)},
                {"path", path},
                {"type", fmt::format("sentence_transformers.models.{}", kind)}};
  };
  Json modules = {module(0, "", "Transformer"), module(1, kPoolingFolder.data(), "Pooling")};
  if (a.unit_vectors) modules.push_back(module(2, "2_Normalize", "Normalize"));
  Json pooling = {{"word_embedding_dimension", a.width}};
  for (const auto& [key, kind] : kModes) pooling[key] = kind == a.pooling;
  write_file(folder / kModules, modules.dump(2) + "\n");
  fs::create_directory(folder / kPoolingFolder);
  if (a.unit_vectors) fs::create_directory(folder / "2_Normalize");
  write_file(folder / kPoolingFolder / "config.json", pooling.dump(2) + "\n");
}

}  // namespace lathe::formats
