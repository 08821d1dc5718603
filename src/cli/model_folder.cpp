#include "cli/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string_view>

#include "base/error.h"
#include "cli/common.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDeepest = 4;  // folders below the model folder that are looked into

constexpr std::array<std::string_view, 4> kEndings = {".gguf", ".safetensors", ".lathe", ".bin"};
constexpr std::array<std::string_view, 6> kOtherEndings = {".json", ".model", ".txt", ".jinja", ".tiktoken", ".spm"};

bool is_model_file(const fs::path& path) {
  const std::string name = path.filename().string(), ending = path.extension().string();
  const bool tokenizer = ending == ".bin" && name.starts_with("tok");  // beside a llama2.c model
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end() && !tokenizer && name[0] != '.';
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

// `way`: the folders gone through, links resolved.
void collect(const fs::path& folder, std::vector<fs::path>& way, std::vector<fs::path>& found) {
  std::error_code ignored;
  const fs::path real = fs::canonical(folder, ignored);
  if (ignored || std::any_of(way.begin(), way.end(), [&](const fs::path& outer) { return is_inside(outer, real); }))
    return;  // a link that leads back
  way.push_back(real);
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, ignored)) {
    if (entry.is_directory(ignored)) {
      (fs::exists(entry.path() / "config.json", ignored) ? found : folders).push_back(entry.path());
    } else if (entry.is_regular_file(ignored) && is_model_file(entry.path())) {
      found.push_back(entry.path());
    }
  }
  for (const fs::path& inner : folders) {
    if (way.size() <= kDeepest && inner.filename().string()[0] != '.') collect(inner, way, found);
  }
  way.pop_back();
}

std::string without_ending(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? path.string() : fs::path(path).replace_extension().string();
}

}  // namespace

fs::path model_folder() {
  const auto set = [](const char* variable) {
    const char* value = std::getenv(variable);
    return value == nullptr ? std::string_view() : std::string_view(value);
  };
  if (const auto folder = set("LATHE_MODELS"); !folder.empty()) return folder;
  if (const auto data = set("XDG_DATA_HOME"); !data.empty()) return fs::path(data) / "lathe/models";
  if (const auto home = set("HOME"); !home.empty()) return fs::path(home) / ".local/share/lathe/models";
  throw Error("there is no model folder", {}, "set LATHE_MODELS to one");
}

std::vector<FolderModel> folder_models() {
  std::vector<fs::path> found;
  const fs::path folder = model_folder();
  std::vector<fs::path> way;
  collect(folder, way, found);
  std::map<std::string, int> uses;
  for (const fs::path& path : found) ++uses[without_ending(path)];
  std::vector<FolderModel> models;
  for (const fs::path& path : found) {
    const std::string whole = path.lexically_relative(folder).string();
    const std::string brief = fs::path(without_ending(path)).lexically_relative(folder).string();
    models.push_back({uses[without_ending(path)] == 1 && brief != kTinyModel ? brief : whole, path});
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return models;
}

void check_model_path(const fs::path& path) {
  const auto refuse = [&](std::string_view why) {
    throw UsageError(fmt::format("'{}' is no name for a file in the model folder: {}", path.string(), why), {},
                     "see --name");
  };
  if (path.empty() || path.is_absolute() || !path.has_filename()) refuse("a path below it is wanted");
  for (const fs::path& part : path) {
    if (part.string()[0] == '.') refuse("no part of it may begin with a dot");
  }
  if (path == kTinyModel) refuse("it stands for the model inside the program");
  if (static_cast<std::size_t>(std::distance(path.begin(), path.end())) > kDeepest + 1)
    refuse(fmt::format("models are looked for {} folders deep", kDeepest));
  const std::string ending = path.extension().string();
  const auto among = [&](const auto& endings) {
    return std::find(endings.begin(), endings.end(), ending) != endings.end();
  };
  if (!among(kEndings) && !among(kOtherEndings)) {
    refuse(fmt::format("a model's file ends with {}, files beside it with {}", fmt::join(kEndings, ", "),
                       fmt::join(kOtherEndings, ", ")));
  }
}

std::optional<fs::path> find_folder_model(const std::string& name) {
  const fs::path path(name);
  if (path.is_absolute() || name.empty() || *path.begin() == "." || *path.begin() == "..") return std::nullopt;
  try {
    const fs::path folder = model_folder();
    for (const FolderModel& model : folder_models()) {
      if (model.name == name || model.path.lexically_relative(folder) == path) return model.path;
    }
  } catch (const Error&) {  // no folder, no names
  }
  return std::nullopt;
}

}  // namespace lathe::cli
