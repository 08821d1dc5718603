// The folder of models that can be named without a path: $LATHE_MODELS, or lathe/models where the user's data lies.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lathe::cli {

struct FolderModel {
  std::string name;  // the path below the folder, a file's ending left out where that names nothing else
  std::filesystem::path path;
};

// Throws Error when neither LATHE_MODELS nor a home is set. It need not exist.
std::filesystem::path model_folder();

// Model files and Hugging Face folders, by name; empty when there is no such folder. Only names are looked at, four
// folders deep; links to folders are followed but for those that lead back.
std::vector<FolderModel> folder_models();

// Throws UsageError for a path below the folder under which no model could be named: one that leads out of it, too
// deep, the name of the model inside the program, or without the ending of a model's file or of one that lies beside
// it.
void check_model_path(const std::filesystem::path& path);

// The model of that name (with or without a file's ending); nothing when there is none.
std::optional<std::filesystem::path> find_folder_model(const std::string& name);

}  // namespace lathe::cli
