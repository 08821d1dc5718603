#include "formats/gguf_model.h"

#include <algorithm>
#include <map>

#include "arch/families.h"
#include "base/file.h"
#include "formats/gguf_architecture.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_rope.h"
#include "formats/gguf_writer.h"
#include "formats/load_tokenizer.h"
#include "formats/matrix_stacks.h"
#include "formats/tokenizer_gguf.h"

namespace lathe::formats {
namespace {

void add_tensors(const Bytes& bytes, const GgufFile& file, const LoadOptions& options, arch::Weights& weights) {
  for (const GgufTensor& tensor : file.tensors) {
    if (weights.find(tensor.name) != nullptr) fail(bytes.name(), "tensor \"{}\" appears twice", tensor.name);
    weights.add(gguf_tensor(bytes, file, tensor, options.weights));
  }
}

// A matrix of one output, which most files store as a vector.
PackedTensor as_one_row(const PackedTensor& tensor) {
  const Shape shape{1, tensor.shape.elements()};
  if (tensor.parts.empty()) return {tensor.name, tensor.codec, {}, shape, {}};
  return packed_blocks(tensor.name, *tensor.codec, shape, tensor.part("blocks"));
}

// From the names of the file to the canonical ones, a tensor for each matrix.
arch::Weights canonical(const arch::Weights& table, const arch::Family& family, const std::string& file) {
  arch::Weights weights;
  for (const auto& [name, tensor] : table.all()) {
    PackedTensor renamed = tensor;
    renamed.name = arch::canonical_name_of_gguf(family, name);
    if (name.ends_with(".ffn_gate_inp_shexp.weight") && tensor.shape.rank() == 1) renamed = as_one_row(renamed);
    add_unstacked(renamed, file, weights);
  }
  return weights;
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

void generation_to(const GenerationDefaults& defaults, Metadata& metadata) {
  const auto number = [&](std::string_view key, float value) {
    if (value >= 0) metadata.set(std::string(key), MetaValue::f32(value));
  };
  number("general.sampling.temp", defaults.temperature);
  number("general.sampling.top_p", defaults.top_p);
  number("general.sampling.min_p", defaults.min_p);
  number("general.sampling.penalty_repeat", defaults.repeat_penalty);
  if (defaults.top_k >= 0) {
    metadata.set("general.sampling.top_k", {MetaType::kI32, false, std::int64_t{defaults.top_k}});
  }
}

// general.file_type of a file whose matrices are mostly of this codec, as llama.cpp numbers them.
std::optional<std::uint32_t> file_type_of(std::span<const TensorSource> tensors) {
  static const std::map<std::string_view, std::uint32_t> kTypes = {
      {"F32", 0},      {"F16", 1},    {"Q4_0", 2},    {"Q4_1", 3},   {"Q8_0", 7},   {"Q5_0", 8},     {"Q5_1", 9},
      {"Q2_K", 10},    {"Q3_K", 12},  {"Q4_K", 15},   {"Q5_K", 17},  {"Q6_K", 18},  {"IQ2_XXS", 19}, {"IQ2_XS", 20},
      {"IQ3_XXS", 23}, {"IQ1_S", 24}, {"IQ4_NL", 25}, {"IQ3_S", 26}, {"IQ2_S", 28}, {"IQ4_XS", 30},  {"IQ1_M", 31},
      {"BF16", 32},    {"TQ1_0", 36}, {"TQ2_0", 37},  {"MXFP4", 38}};
  std::map<std::string_view, std::uint64_t> weights;
  for (const TensorSource& tensor : tensors) {
    if (tensor.shape.rank() > 1) weights[tensor.codec->name()] += tensor.shape.elements();
  }
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto type = most == weights.end() ? kTypes.end() : kTypes.find(most->first);
  if (type == kTypes.end()) return std::nullopt;
  return type->second;
}

void set_file_type(std::uint32_t type, Metadata& metadata) {
  metadata.set("general.file_type", MetaValue::u32(type));
  if (type > 1 && type != 32) metadata.set("general.quantization_version", MetaValue::u32(2));
}

// Other readers take the number of tokens for the size of the embedding, which is often rounded up: the rows beyond the
// vocabulary get entries that no text becomes.
text::TokenizerSpec padded(text::TokenizerSpec spec, std::uint32_t vocab_size) {
  while (spec.size() < vocab_size) {
    spec.pieces.push_back(fmt::format("[PAD{}]", spec.size()));
    spec.kinds.push_back(text::TokenKind::kUnused);
    if (!spec.scores.empty()) spec.scores.push_back(-1e4f);
  }
  return spec;
}

void set_tokenizer(const ModelFile& model, Metadata& metadata) {
  if (has_gguf_tokenizer(metadata)) return;  // the keys the model came with
  if (model.tokenizer_spec != nullptr) {
    write_gguf_tokenizer(padded(*model.tokenizer_spec, model.architecture.vocab_size), metadata);
  } else {
    metadata.set("tokenizer.ggml.model", MetaValue::string("none"));
  }
}

}  // namespace

void set_file_type(const arch::CodecMix& mix, Metadata& metadata) { set_file_type(mix.file_type, metadata); }

void set_file_type(std::span<const TensorSource> tensors, Metadata& metadata) {
  if (const auto type = file_type_of(tensors)) {
    set_file_type(*type, metadata);
  } else {
    metadata.erase("general.file_type");
  }
}

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
  const arch::Family& family =
      gguf_family(file.metadata, [&](std::string_view tensor) { return table.find(tensor) != nullptr; });
  model.weights = canonical(table, family, bytes.name());
  model.architecture = architecture_from_gguf(file.metadata, family, model.weights);
  for (const auto& [name, tensor] : table.all()) {
    if (is_rope_factor_tensor(name)) model.weights.remove(name);
  }
  split_latent_products(model.architecture, model.weights);
  model.chat_template = file.metadata.string("tokenizer.chat_template").value_or("");
  model.generation = generation_of(file.metadata);
  model.metadata = std::move(file.metadata);
  attach_tokenizer(model, options, [&] { return tokenizer_from_gguf(model.metadata); });
  if (n_splits > 1) {
    for (const std::string_view key : {"split.no", "split.count", "split.tensors.count"}) model.metadata.erase(key);
  }
  return model;
}

SaveResult save_gguf(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options) {
  const arch::Family& family = arch::family_named(model.architecture.family, path.string());
  std::vector<TensorSource> tensors =
      stacked(tensor_sources(model, options.dtype, family.gguf_rope_layout), path.string());
  for (TensorSource& tensor : tensors) tensor.name = arch::gguf_name(family, tensor.name);
  for (const PackedTensor& factors : rope_factor_tensors(model.architecture)) {
    tensors.push_back({factors.name, factors.codec, {}, factors.shape, [factors] { return factors; }});
  }
  Metadata metadata(path.string());
  for (const auto& [key, value] : model.metadata.items()) metadata.set(key, value);
  architecture_to_gguf(model.architecture, metadata);
  generation_to(model.generation, metadata);
  if (const arch::CodecMix* mix = arch::find_codec_mix(options.dtype)) {
    set_file_type(*mix, metadata);
  } else if (!metadata.has("general.file_type") || !options.dtype.empty()) {
    set_file_type(tensors, metadata);
  }
  set_tokenizer(model, metadata);
  if (model.chat_template.empty())
    metadata.erase("tokenizer.chat_template");
  else
    metadata.set("tokenizer.chat_template", MetaValue::string(model.chat_template));
  return write_gguf(path, metadata, tensors, options.split_bytes);
}

}  // namespace lathe::formats
