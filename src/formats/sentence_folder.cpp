#include "formats/sentence_folder.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfig = 1 << 20;
constexpr std::string_view kModules = "modules.json", kPoolingFolder = "1_Pooling";

constexpr std::pair<const char*, PoolingKind> kModes[] = {{"pooling_mode_mean_tokens", PoolingKind::kMean},
                                                          {"pooling_mode_cls_token", PoolingKind::kCls},
                                                          {"pooling_mode_lasttoken", PoolingKind::kLast}};

}  // namespace

void apply_pooling_config(std::string_view text, const std::string& where, arch::Architecture& a) {
  const Json config = parse_json(text, where, 8);
  if (!config.is_object()) fail(where, "is not a JSON object");
  std::size_t chosen = 0;
  for (auto item = config.begin(); item != config.end(); ++item) {
    const std::string& key = item.key();
    if (!key.starts_with("pooling_mode_") || !item->is_boolean() || !item->get<bool>()) continue;
    ++chosen;
    const auto mode =
        std::find_if(std::begin(kModes), std::end(kModes), [&](const auto& row) { return key == row.first; });
    if (mode == std::end(kModes)) fail(where, "\"{}\" is not supported: known are mean, cls and last token", key);
    a.pooling = mode->second;
  }
  if (chosen > 1) fail(where, "asks for {} poolings side by side, which is not supported", chosen);
}

std::string apply_modules(std::string_view text, const std::string& where, arch::Architecture& a) {
  const Json modules = parse_json(text, where, 8);
  if (!modules.is_array()) fail(where, "is not a list of modules");
  std::string pooling;
  for (const Json& module : modules) {
    if (!module.is_object()) fail(where, "a module is not an object");
    const auto type = json_get<std::string>(module, "type", where);
    const std::string kind = type.substr(type.rfind('.') + 1);
    if (kind == "Pooling") {
      pooling = json_get_or<std::string>(module, "path", "", where);
      if (pooling.empty() || pooling.find('/') != std::string::npos || pooling == "..")
        fail(where, "the module \"{}\" is not a folder inside this one", pooling);
    } else if (kind == "Normalize") {
      a.unit_vectors = true;
    } else if (kind != "Transformer") {
      throw Error(fmt::format("the module \"{}\" is not supported", type), where,
                  "known are Transformer, Pooling and Normalize");
    }
  }
  return pooling;
}

void read_sentence_folder(const fs::path& folder, arch::Architecture& a) {
  std::string pooling(kPoolingFolder);
  const fs::path modules = folder / kModules;
  const bool listed = fs::exists(modules);
  if (listed) pooling = apply_modules(read_file(modules, kMaxConfig), modules.string(), a);
  const fs::path config = folder / pooling / "config.json";
  if (pooling.empty() || (!listed && !fs::exists(config))) return;
  apply_pooling_config(read_file(config, kMaxConfig), config.string(), a);
}

void read_sentence_metadata(const std::map<std::string, std::string>& metadata, const std::string& where,
                            arch::Architecture& a) {
  const auto modules = metadata.find(std::string(kModules));
  if (modules == metadata.end()) return;
  const std::string pooling = apply_modules(modules->second, where, a);
  const auto config = metadata.find(pooling + "/config.json");
  if (config != metadata.end()) apply_pooling_config(config->second, where, a);
}

std::map<std::string, std::string> sentence_files(const arch::Architecture& a) {
  if (a.causal && a.pooling == PoolingKind::kMean && !a.unit_vectors) return {};
  const auto module = [](int index, const std::string& path, const char* kind) {
    return Json{{"idx", index},
                {"name", std::to_string(index)},
                {"path", path},
                {"type", fmt::format("sentence_transformers.models.{}", kind)}};
  };
  const std::string pooling_folder(kPoolingFolder);
  Json modules = {module(0, "", "Transformer"), module(1, pooling_folder, "Pooling")};
  if (a.unit_vectors) modules.push_back(module(2, "2_Normalize", "Normalize"));
  Json pooling = {{"word_embedding_dimension", a.width}};
  for (const auto& [key, kind] : kModes) pooling[key] = kind == a.pooling;
  return {{std::string(kModules), modules.dump(2) + "\n"}, {pooling_folder + "/config.json", pooling.dump(2) + "\n"}};
}

void write_sentence_folder(const arch::Architecture& a, const fs::path& folder) {
  for (const auto& [name, text] : sentence_files(a)) {
    fs::create_directories((folder / name).parent_path());
    write_file(folder / name, text);
  }
}

}  // namespace lathe::formats
