// lathe list: the models that can be named without a path.
#include <algorithm>
#include <string>

#include "base/json.h"
#include "base/log.h"
#include "cli/common.h"
#include "cli/model_folder.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

// What a line of the table says; `problem` when the files cannot be read.
struct Listed {
  std::string name, path, family, codec, problem;
  std::uint64_t bytes = 0, parameters = 0;
};

Listed look_at(const FolderModel& model) {
  Listed listed{.name = model.name, .path = model.path.string()};
  try {
    const formats::ModelFile file = load_model({.model = model.path.string()});
    listed.family = file.architecture.family;
    listed.codec = main_codec(file.weights);
    listed.bytes = file.weights.bytes();
    listed.parameters = file.weights.parameters();
  } catch (const Error& error) {
    listed.problem = error.problem();
  }
  return listed;
}

}  // namespace

int list_verb(Arguments arguments) {
  OutputArgs output;
  bool names = false;
  Options options("list", "[options]",
                  "Shows the models in the model folder ($LATHE_MODELS, or ~/.local/share/lathe/models), whose names "
                  "stand for them wherever a MODEL is asked for, and tiny, the model inside this program.");
  options.flag("--names", names, "names only, without a look into the files");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  const std::vector<FolderModel> models = folder_models();
  if (names && !output.json) {
    std::string text = std::string(kTinyModel) + "\n";
    for (const FolderModel& model : models) text += model.name + "\n";
    print_text(text);
    return kExitSuccess;
  }
  std::vector<Listed> table = {look_at({std::string(kTinyModel), kTinyModel})};
  for (const FolderModel& model : models) {
    table.push_back(names ? Listed{.name = model.name, .path = model.path.string()} : look_at(model));
  }
  if (output.json) {
    Json rows = Json::array();
    for (const Listed& one : table) {
      Json row = {{"name", one.name}, {"path", one.path}};
      if (!one.problem.empty()) {
        row["error"] = one.problem;
      } else if (!one.family.empty()) {
        row.update(
            {{"family", one.family}, {"codec", one.codec}, {"bytes", one.bytes}, {"parameters", one.parameters}});
      }
      rows.push_back(std::move(row));
    }
    print_json({{"folder", model_folder().string()}, {"models", std::move(rows)}});
    return kExitSuccess;
  }
  std::size_t width = 4;
  for (const Listed& one : table) width = std::max(width, one.name.size());
  std::string text =
      fmt::format("{:<{}}  {:>8}  {:>10}  {:<10} {}\n", "name", width, "size", "parameters", "family", "codec");
  for (const Listed& one : table) {
    text += one.problem.empty()
                ? fmt::format("{:<{}}  {:>8}  {:>10}  {:<10} {}\n", one.name, width, readable_bytes(one.bytes),
                              readable_count(one.parameters), one.family, one.codec)
                : fmt::format("{:<{}}  cannot be read: {}\n", one.name, width, one.problem);
  }
  print_text(text);
  if (models.empty()) log_info("{} holds no models; lathe pull URL fetches one", model_folder().string());
  return kExitSuccess;
}

}  // namespace lathe::cli
