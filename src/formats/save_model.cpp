// Chooses the layout that a path asks for and writes it.
#include "arch/codec_mix.h"
#include "base/json.h"
#include "formats/gguf_model.h"
#include "formats/hf_folder.h"
#include "formats/lathe_file.h"
#include "formats/model_file.h"
#include "text/tokenizer_spec.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

// Names that people give to files of other kinds: a folder of that name would be a surprise.
constexpr std::string_view kForeignExtensions[] = {".bin", ".pt",  ".pth", ".onnx",   ".json",    ".ckpt", ".ggml",
                                                   ".npz", ".txt", ".h5",  ".tflite", ".msgpack", ".zip",  ".tar"};

// An existing folder is replaced as a whole, so it must be a model or empty.
void check_replaceable(const fs::path& folder) {
  if (!fs::exists(folder) || fs::is_empty(folder) || fs::exists(folder / "config.json")) return;
  throw Error("is a folder with other things in it, which would be lost", folder.string(), "name a new folder");
}

SaveResult save_as_named(const ModelFile& model, const fs::path& path, const SaveOptions& options) {
  if (path.empty()) fail("", "there is no path to save to");
  if (!options.dtype.empty() && arch::find_codec_mix(options.dtype) == nullptr &&
      !codec_named(options.dtype).can_encode()) {
    throw Error(fmt::format("{} can be read but not written", options.dtype), path.string(), "choose another codec");
  }
  if (model.tokenizer_spec != nullptr && model.tokenizer_spec->target != nullptr) {
    throw Error("has a vocabulary for what it reads and another for what it writes, which only its own layout can say",
                model.path, "use the model as it is");
  }
  const std::string extension = path.extension().string();
  if (!fs::is_directory(path)) {
    if (extension == ".gguf") return save_gguf(model, path, options);
    if (extension == ".safetensors") return save_safetensors(model, path, options);
    if (extension == ".lathe") return save_lathe(model, path, options);
    for (const std::string_view foreign : kForeignExtensions) {
      if (extension != foreign) continue;
      throw Error(fmt::format("{} files cannot be written", extension), path.string(),
                  "use .gguf, .safetensors, .lathe, or a folder name for Hugging Face layout");
    }
    if (fs::exists(path)) throw Error("is a file", path.string(), "use .gguf, .safetensors, .lathe, or a folder name");
  }
  check_replaceable(path);
  return save_hf_folder(model, path, options);
}

}  // namespace

SaveResult save_model(const ModelFile& model, const fs::path& path, const SaveOptions& options) {
  try {
    return save_as_named(model, path, options);
  } catch (const fs::filesystem_error& error) {
    throw Error("cannot write: " + error.code().message(), path.string());
  } catch (const nlohmann::json::exception&) {  // names and templates from GGUF files can be any bytes
    throw Error("has text that is not valid UTF-8, which JSON cannot hold", model.path, "save as .gguf");
  }
}

}  // namespace lathe::formats
