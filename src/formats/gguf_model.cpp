#include "formats/gguf_model.h"

#include "base/file.h"
#include "formats/gguf_architecture.h"
#include "formats/gguf_reader.h"
#include "formats/load_tokenizer.h"

namespace lathe::formats {
namespace {

void add_tensors(const Bytes& bytes, const GgufFile& file, const LoadOptions& options, arch::Weights& weights) {
  for (const GgufTensor& tensor : file.tensors) {
    if (weights.find(tensor.name) != nullptr) fail(bytes.name(), "tensor \"{}\" appears twice", tensor.name);
    weights.add(gguf_tensor(bytes, file, tensor, options.weights));
  }
}

// The other files of a split model, which share its name but for the number.
void add_splits(const Bytes& first, const GgufFile& file, std::uint64_t count, const LoadOptions& options,
                arch::Weights& weights) {
  const std::filesystem::path path = first.name();
  const SplitName name = parse_split_name(path.filename().string(), ".gguf");
  const std::int64_t number = file.metadata.integer("split.no").value_or(0);
  if (name.count != count || static_cast<std::int64_t>(name.index) != number + 1) {
    throw Error(
        fmt::format("is part {} of a model split into {} files, but its name does not say so", number + 1, count),
        first.name(),
        fmt::format("name the files like {}", split_name("model", 1, static_cast<std::uint32_t>(count), ".gguf")));
  }
  for (std::uint32_t index = 2; index <= name.count; ++index) {
    const Bytes bytes = map_file(path.parent_path() / split_name(name.stem, index, name.count, ".gguf"));
    const GgufFile part = read_gguf_header(bytes);
    const auto part_count = part.metadata.integer("split.count"), part_number = part.metadata.integer("split.no");
    if (part_count != static_cast<std::int64_t>(count) || part_number != static_cast<std::int64_t>(index) - 1) {
      fail(bytes.name(), "is not part {} of {} of {}", index, count, first.name());
    }
    add_tensors(bytes, part, options, weights);
  }
  if (const auto total = file.metadata.integer("split.tensors.count");
      total && *total != static_cast<std::int64_t>(weights.all().size())) {
    fail(first.name(), "the {} files of this model hold {} tensors, expected {}", count, weights.all().size(), *total);
  }
}

GenerationDefaults generation_of(const Metadata& metadata) {
  GenerationDefaults defaults;
  const auto number = [&](std::string_view key, float& target) {
    if (const auto value = metadata.number(key)) target = static_cast<float>(*value);
  };
  number("general.sampling.temp", defaults.temperature);
  number("general.sampling.top_p", defaults.top_p);
  number("general.sampling.min_p", defaults.min_p);
  number("general.sampling.penalty_repeat", defaults.repeat_penalty);
  if (const auto value = metadata.integer("general.sampling.top_k")) {
    defaults.top_k = narrow<int>(*value, "general.sampling.top_k", metadata.file());
  }
  return defaults;
}

}  // namespace

ModelFile load_gguf(const Bytes& bytes, const LoadOptions& options) {
  GgufFile file = read_gguf_header(bytes);
  const std::int64_t n_splits = file.metadata.integer("split.count").value_or(1);
  if (n_splits > 1 && file.metadata.integer("split.no").value_or(0) != 0) {
    // Any file of the set names the model; the first one has the metadata.
    const std::filesystem::path path = bytes.name();
    const SplitName name = parse_split_name(path.filename().string(), ".gguf");
    if (name.index <= 1)
      fail(bytes.name(), "is not the first file of a split model, and its name does not say which it is");
    return load_gguf(map_file(path.parent_path() / split_name(name.stem, 1, name.count, ".gguf")), options);
  }
  ModelFile model;
  model.path = bytes.name();
  model.kind = FileKind::kGguf;
  arch::Weights table;
  add_tensors(bytes, file, options, table);
  if (n_splits > 1) add_splits(bytes, file, static_cast<std::uint64_t>(n_splits), options, table);
  model.architecture = architecture_from_gguf(file.metadata, table);
  for (const auto& [name, tensor] : table.all()) {
    if (!is_rope_factor_tensor(name)) model.weights.add(tensor);
  }
  model.chat_template = file.metadata.string("tokenizer.chat_template").value_or("");
  model.generation = generation_of(file.metadata);
  model.metadata = std::move(file.metadata);
  attach_tokenizer(model, options, [&] { return tokenizer_from_gguf(model.metadata); });
  if (n_splits > 1) {
    for (const std::string_view key : {"split.no", "split.count", "split.tensors.count"}) model.metadata.erase(key);
  }
  return model;
}

}  // namespace lathe::formats
