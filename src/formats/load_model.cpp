// Recognises what a file or folder holds by its content and hands it to the reader of that layout.
#include "base/file.h"
#include "base/log.h"
#include "formats/ctranslate2.h"
#include "formats/gguf_model.h"
#include "formats/gguf_reader.h"
#include "formats/hf_folder.h"
#include "formats/json_tensors.h"
#include "formats/lathe_file.h"
#include "formats/llama2c.h"
#include "formats/load_tokenizer.h"
#include "formats/model_file.h"
#include "formats/safetensors_reader.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

ModelFile load_bytes(const Bytes& bytes, const LoadOptions& options);

// What starts like this is a known layout that Lathe does not read; the remedy says what to do.
struct Foreign {
  std::string_view magic, what, remedy;
};
constexpr std::string_view kToSafetensors = "save it as safetensors first, for example with its own Python tools";
constexpr Foreign kForeign[] = {
    {"PK\x03\x04", "is a ZIP archive, most likely a PyTorch pickle", kToSafetensors},
    {"\x80\x02", "is a PyTorch pickle", kToSafetensors},
    {"\x80\x04", "is a Python pickle", kToSafetensors},
    {"lmgg", "is an unversioned ggml file, older than GGUF", "convert the original model to GGUF again"},
    {"fmgg", "is a ggmf file, older than GGUF", "convert the original model to GGUF again"},
    {"tjgg", "is a ggjt file, older than GGUF", "convert the original model to GGUF again"},
    {"\x89HDF", "is an HDF5 file", kToSafetensors},
    {"\x1f\x8b", "is compressed with gzip", "unpack it first"},
    {"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it first"},
    {"TFL3", "is a TensorFlow Lite model", kToSafetensors},
};

[[noreturn]] void unknown_layout(const Bytes& bytes) {
  for (const Foreign& foreign : kForeign) {
    if (bytes.text().starts_with(foreign.magic))
      throw Error(std::string(foreign.what), bytes.name(), std::string(foreign.remedy));
  }
  // A protobuf whose first field is a small varint: ONNX's ir_version.
  if (bytes.size() > 4 && bytes.text()[0] == '\x08' && bytes.text()[2] == '\x12') {
    throw Error("looks like an ONNX model", bytes.name(), std::string(kToSafetensors));
  }
  throw Error(
      "is not a model file that Lathe reads", bytes.name(),
      "known are GGUF, safetensors, Hugging Face folders, .lathe, llama2.c .bin, CTranslate2 .bin and minGPT JSON");
}

// A folder in Hugging Face layout, or one that holds a single GGUF, .lathe or CTranslate2 file.
ModelFile load_folder(const fs::path& folder, const LoadOptions& options) {
  if (fs::exists(folder / "config.json")) return load_hf_folder(folder, options);
  std::vector<fs::path> models;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (path.extension() != ".gguf" && path.extension() != ".lathe") continue;
    // Of a split model, the first file stands for all.
    if (parse_split_name(path.filename().string(), ".gguf").index <= 1) models.push_back(path);
  }
  if (const fs::path translator = folder / "model.bin"; models.empty() && fs::exists(translator)) {
    if (const Bytes bytes = map_file(translator); is_ctranslate2(bytes)) return load_bytes(bytes, options);
  }
  if (models.size() == 1) return load_bytes(map_file(models.front()), options);
  if (models.empty()) {
    throw Error("is a folder without config.json, GGUF or .lathe file", folder.string(),
                "name a model file or a Hugging Face folder");
  }
  throw Error(fmt::format("is a folder with {} models", models.size()), folder.string(), "name one of the files");
}

ModelFile load_bytes(const Bytes& bytes, const LoadOptions& options) {
  if (is_gguf(bytes)) return load_gguf(bytes, options);
  if (is_llama2c(bytes)) {
    ModelFile model = read_llama2c(bytes, options);
    attach_tokenizer(model, options,
                     [&] { return tokenizer_beside_llama2c(bytes.name(), model.architecture.vocab_size); });
    return model;
  }
  if (is_ctranslate2(bytes)) {
    ModelFile model = read_ctranslate2(bytes);
    attach_tokenizer(model, options, [&] { return tokenizer_beside_ctranslate2(bytes.name(), model.architecture); });
    return model;
  }
  if (is_lathe(bytes)) return load_lathe(bytes, options);
  if (is_safetensors(bytes)) return load_safetensors(bytes, options);
  if (is_json_tensors(bytes)) return load_json_tensors(bytes, options);
  unknown_layout(bytes);
}

void check(const ModelFile& model, const LoadOptions& options) {
  const arch::Architecture& a = model.architecture;
  const std::uint32_t words = a.encoder.vocab_size > 0 ? a.encoder.vocab_size : a.vocab_size;  // of what is read
  if (model.tokenizer != nullptr && model.tokenizer->size() > words) {
    throw Error(fmt::format("the tokenizer has {} tokens, but the model only {}", model.tokenizer->size(), words),
                model.path, "name the right tokenizer with --tokenizer");
  }
  if (!options.weights || !options.check_weights) return;
  for (const std::string& extra : arch::check_weights(model.architecture, model.weights, model.path)) {
    log_warning("{}: tensor \"{}\" is not part of the architecture and is ignored", model.path, extra);
  }
}

}  // namespace

std::string_view file_kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kGguf:
      return "GGUF";
    case FileKind::kSafetensors:
      return "safetensors";
    case FileKind::kHfFolder:
      return "Hugging Face folder";
    case FileKind::kLathe:
      return "Lathe";
    case FileKind::kLlama2c:
      return "llama2.c";
    case FileKind::kJsonTensors:
      return "JSON tensors";
    case FileKind::kCTranslate2:
      return "CTranslate2";
  }
  return "unknown";
}

ModelFile load_model(const std::filesystem::path& path, const LoadOptions& options) {
  try {
    ModelFile model = fs::is_directory(path) ? load_folder(path, options) : load_bytes(map_file(path), options);
    check(model, options);
    return model;
  } catch (const fs::filesystem_error& error) {  // a folder that may not be listed, a name too long, ...
    throw Error("cannot read: " + error.code().message(), path.string());
  }
}

ModelFile load_model(const Bytes& bytes, const LoadOptions& options) {
  ModelFile model = load_bytes(bytes, options);
  check(model, options);
  return model;
}

}  // namespace lathe::formats
