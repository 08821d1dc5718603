#include "formats/hf_folder.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "formats/gguf_reader.h"
#include "formats/hf_config.h"
#include "formats/hf_text.h"
#include "formats/hf_weights.h"
#include "formats/load_tokenizer.h"
#include "formats/matrix_stacks.h"
#include "formats/mxfp4_experts.h"
#include "formats/safetensors_reader.h"
#include "formats/sentence_folder.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 16 << 20, kMaxIndexBytes = 128 << 20;

// The files that "weight_map" names, checked to be plain names of files in the folder.
std::set<std::string> shards_of(const fs::path& index) {
  const nlohmann::json json = parse_json_sorted(read_file(index, kMaxIndexBytes), index.string(), 8);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) fail(index.string(), "\"weight_map\" is missing or not an object");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) fail(index.string(), "the file of tensor \"{}\" is not a string", tensor);
    const std::string name = file.get<std::string>();
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..") {
      fail(index.string(), "tensor \"{}\" is said to lie in \"{}\", which is not the name of a file in this folder",
           tensor, name);
    }
    names.insert(name);
  }
  if (names.empty()) fail(index.string(), "\"weight_map\" is empty");
  return names;
}

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view ending) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().filename().string().ends_with(ending)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> weight_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (const fs::path index = folder / "model.safetensors.index.json"; fs::exists(index)) {
    for (const std::string& name : shards_of(index)) files.push_back(folder / name);
    return files;
  }
  if (const fs::path single = folder / "model.safetensors"; fs::exists(single)) return {single};
  files = files_ending(folder, ".safetensors");
  if (files.size() == 1) return files;
  if (files.size() > 1) {
    throw Error(fmt::format("has {} safetensors files and no model.safetensors.index.json", files.size()),
                folder.string(), "name one of the files, or add the index");
  }
  for (const std::string_view ending : {".bin", ".pth", ".pt"}) {
    if (const auto pickles = files_ending(folder, ending); !pickles.empty()) {
      throw Error("is a PyTorch pickle", pickles.front().string(), "save the model as safetensors first");
    }
  }
  if (!files_ending(folder, ".onnx").empty())
    throw Error("has only an ONNX graph", folder.string(), "save the model as safetensors first");
  fail(folder.string(), "has a config.json but no safetensors file");
}

// Architecture and weights; the text side is attached by the callers.
ModelFile load_files(const Json& config, const std::string& config_name, const std::vector<Bytes>& files,
                     const LoadOptions& options) {
  ModelFile model;
  model.architecture = architecture_from_hf(config, config_name);
  std::optional<HfQuantizedWeights> quantized;
  const arch::Family& family = arch::family_named(model.architecture.family, config_name);
  if (const auto quantization = hf_quantization(config, family, config_name)) quantized.emplace(*quantization);
  for (const Bytes& bytes : files) {
    add_hf_weights(bytes, model.architecture, options.weights, quantized ? &*quantized : nullptr, model.weights);
  }
  if (quantized) quantized->finish(model.architecture, options.weights, config_name, model.weights);
  split_latent_products(model.architecture, model.weights);
  split_mxfp4_experts(model.architecture, model.weights, config_name);
  settle_output_head(model.weights, model.architecture, config_name);
  return model;
}

ModelFile load_with_folder(const fs::path& folder, const std::vector<Bytes>& files, const LoadOptions& options) {
  const fs::path config_path = folder / "config.json";
  const Json config = parse_json(read_file(config_path, kMaxConfigBytes), config_path.string());
  ModelFile model = load_files(config, config_path.string(), files, options);
  read_sentence_folder(folder, model.architecture);
  model.generation = hf_generation(folder);
  model.chat_template = hf_chat_template(folder);
  attach_tokenizer(model, options, [&] { return hf_tokenizer(folder, config, model.architecture.vocab_size); });
  return model;
}

}  // namespace

ModelFile load_hf_folder(const fs::path& folder, const LoadOptions& options) {
  std::vector<Bytes> files;
  for (const fs::path& path : weight_files(folder)) files.push_back(map_file(path));
  ModelFile model = load_with_folder(folder, files, options);
  model.path = folder.string();
  model.kind = FileKind::kHfFolder;
  return model;
}

ModelFile load_safetensors(const Bytes& bytes, const LoadOptions& options) {
  const fs::path path = bytes.name();
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const SafetensorsFile header = read_safetensors_header(bytes, options.weights);
  ModelFile model;
  if (const auto inside = header.metadata.find("config.json"); inside != header.metadata.end()) {
    model = load_files(parse_json(inside->second, bytes.name()), bytes.name(), {bytes}, options);
    read_sentence_metadata(header.metadata, bytes.name(), model.architecture);
    if (const auto found = header.metadata.find("chat_template"); found != header.metadata.end())
      model.chat_template = found->second;
    attach_tokenizer(model, options, [&] { return tokenizer_in_metadata(header.metadata, bytes.name()); });
  } else if (parse_split_name(path.filename().string(), ".safetensors").count > 1) {
    return load_hf_folder(folder, options);
  } else if (fs::exists(folder / "config.json")) {
    model = load_with_folder(folder, {bytes}, options);
  } else {
    throw Error("holds tensors but does not say what model they are", bytes.name(), "put its config.json beside it");
  }
  model.path = bytes.name();
  model.kind = FileKind::kSafetensors;
  return model;
}

SaveResult save_hf_folder(const ModelFile& model, const fs::path& target, const SaveOptions& options) {
  const std::string where = target.string();
  const std::vector<SafetensorsItem> items = hf_items(model, options, where);
  const Json config = hf_config_with_tokens(model, architecture_to_hf(model.architecture, torch_dtype(items), where));
  AtomicFolder folder(target);
  SaveResult result = write_sharded_safetensors(folder.path(), items, {{"format", "pt"}}, options.split_bytes);
  write_file(folder.path() / "config.json", config.dump(2) + "\n");
  write_hf_text(model, folder.path());
  write_sentence_folder(model.architecture, folder.path());
  folder.commit();
  return result;
}

SaveResult save_safetensors(const ModelFile& model, const fs::path& path, const SaveOptions& options) {
  const std::vector<SafetensorsItem> items = hf_items(model, options, path.string());
  const Json config =
      hf_config_with_tokens(model, architecture_to_hf(model.architecture, torch_dtype(items), path.string()));
  SafetensorsMetadata metadata = {{"format", "pt"}, {"config.json", config.dump()}};
  if (!model.chat_template.empty()) metadata["chat_template"] = model.chat_template;
  metadata.merge(sentence_files(model.architecture));
  add_tokenizer_metadata(model, metadata);
  return write_safetensors(path, items, metadata);
}

}  // namespace lathe::formats
