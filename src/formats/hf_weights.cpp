#include "formats/hf_weights.h"

#include <array>
#include <cstring>

#include "base/log.h"
#include "formats/matrix_stacks.h"
#include "formats/safetensors_reader.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kUnusedPositions = 2;

// Masks, frequency tables and numberings that older versions stored with the weights.
bool is_buffer(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attention.bias") || name.ends_with(".masked_bias") ||
         name.ends_with(".rotary_emb.inv_freq") || name.ends_with("embeddings.position_ids");
}

bool same_bytes(const PackedTensor& a, const PackedTensor& b) {
  return a.codec == b.codec && a.shape == b.shape && a.parts.size() == 1 && b.parts.size() == 1 &&
         a.parts[0].data.size() == b.parts[0].data.size() &&
         std::memcmp(a.parts[0].data.data(), b.parts[0].data.data(), a.parts[0].data.size()) == 0;
}

PackedTensor canonical_from_stored(const PackedTensor& tensor, arch::Storage storage, const arch::Architecture& a) {
  switch (storage) {
    case arch::Storage::kTransposed:
      return transpose(tensor);
    case arch::Storage::kGroupedQkv:
      return tensor.parts.empty() ? tensor : ungroup_qkv(tensor, a);
    case arch::Storage::kGainLessOne:
      return shifted(tensor, 1);
    case arch::Storage::kFromThirdRow:
      return without_first_rows(tensor, kUnusedPositions);
    case arch::Storage::kPlain:
    case arch::Storage::kLatentKv:  // split_latent_products() takes it apart
      break;
  }
  return tensor;
}

PackedTensor stored_from_canonical(const PackedTensor& tensor, arch::Storage storage, const arch::Architecture& a) {
  switch (storage) {
    case arch::Storage::kTransposed:
      return transpose(tensor);
    case arch::Storage::kGroupedQkv:
      return group_qkv(tensor, a);
    case arch::Storage::kGainLessOne:
      return shifted(tensor, -1);
    case arch::Storage::kFromThirdRow:
      return with_zero_rows(tensor, kUnusedPositions);
    case arch::Storage::kPlain:
    case arch::Storage::kLatentKv:
      break;
  }
  return tensor;
}

DType plain_dtype(const TensorSource& source, const std::string& where) {
  const BlockFormat* format = block_format(*source.codec);
  if (format == nullptr || format->block_size != 1) {
    throw Error(fmt::format("safetensors files cannot hold {} tensors", source.codec->name()),
                fmt::format("{}, tensor \"{}\"", where, source.name),
                "choose F32, F16 or BF16 with --dtype, or save as .gguf or .lathe");
  }
  return safetensors_dtype(source.codec->name(), where);
}

}  // namespace

std::string hf_canonical_name(const arch::Family& family, const std::string& name) {
  std::string found = arch::canonical_name(family, name);
  if (!found.empty()) return found;
  const std::string_view embedding = family.names.front().hugging_face;
  return arch::canonical_name(family, fmt::format("{}.{}", embedding.substr(0, embedding.find('.')), name));
}

void add_hf_weights(const Bytes& bytes, const arch::Architecture& architecture, bool with_data,
                    HfQuantizedWeights* quantized, arch::Weights& weights) {
  const arch::Family& family = arch::family_named(architecture.family, bytes.name());
  const SafetensorsFile file = read_safetensors_header(bytes, with_data);
  for (const SafetensorsEntry& entry : file.tensors) {
    if (quantized != nullptr && quantized->take(entry.name, safetensors_tensor(bytes, file, entry, with_data)))
      continue;
    const std::string name = hf_canonical_name(family, entry.name);
    if (name.empty()) {
      if (!is_buffer(entry.name)) {
        log_warning("{}: tensor \"{}\" is not part of a {} model and is left out", bytes.name(), entry.name,
                    family.name);
      }
      continue;
    }
    if (weights.find(name) != nullptr) fail(bytes.name(), "tensor \"{}\" appears twice", entry.name);
    PackedTensor tensor = safetensors_tensor(bytes, file, entry, with_data);
    tensor = canonical_from_stored(tensor, arch::name_rule(family, name)->storage, architecture);
    tensor.name = name;
    weights.add(std::move(tensor));
  }
}

void settle_output_head(arch::Weights& weights, arch::Architecture& a, const std::string& where) {
  const PackedTensor* head = weights.find("output.weight");
  if (head == nullptr && !a.tied_embeddings && weights.find("token_embd.weight") != nullptr) {
    log_warning("{}: has no output head of its own; the token embedding serves as one", where);
    a.tied_embeddings = true;
  }
  if (head == nullptr || !a.tied_embeddings) return;
  const PackedTensor* embedding = weights.find("token_embd.weight");
  if (embedding != nullptr && !head->parts.empty() && !same_bytes(*head, *embedding)) {
    log_warning("{}: config.json ties the output head to the embedding; the different head in the file is left out",
                where);
  }
  weights.remove("output.weight");
}

std::vector<SafetensorsItem> hf_items(const ModelFile& model, const SaveOptions& options, const std::string& where) {
  const arch::Family& family = arch::family_named(model.architecture.family, where);
  std::vector<SafetensorsItem> items;
  for (TensorSource& source :
       with_latent_products_joined(tensor_sources(model, options.dtype, family.hf_rope_layout), model.architecture)) {
    const arch::NameRule* rule = arch::name_rule(family, source.name);
    if (rule == nullptr) {
      throw Error("has no name in Hugging Face checkpoints", fmt::format("{}, tensor \"{}\"", where, source.name),
                  "save as .lathe or .gguf");
    }
    SafetensorsItem item;
    item.name = arch::hf_name(family, source.name);
    item.dtype = rule->storage == arch::Storage::kGainLessOne ? DType::kF32 : plain_dtype(source, where);
    const bool transposed = rule->storage == arch::Storage::kTransposed;
    item.shape = transposed ? Shape{source.shape[1], source.shape[0]} : source.shape;
    if (rule->storage == arch::Storage::kFromThirdRow)
      item.shape = Shape{source.shape[0] + kUnusedPositions, source.shape[1]};
    item.write = [read = std::move(source.read), storage = rule->storage, a = model.architecture](AtomicFile& file) {
      write_and_drop(file, stored_from_canonical(read(), storage, a).parts.at(0).data);
    };
    items.push_back(std::move(item));
  }
  return items;
}

std::string torch_dtype(const std::vector<SafetensorsItem>& items) {
  std::uint64_t f32 = 0, f16 = 0, bf16 = 0;
  for (const SafetensorsItem& item : items) {
    if (item.dtype == DType::kF16)
      f16 += item.shape.elements();
    else if (item.dtype == DType::kBF16)
      bf16 += item.shape.elements();
    else
      f32 += item.shape.elements();
  }
  if (bf16 >= f16 && bf16 > f32) return "bfloat16";
  return f16 > f32 ? "float16" : "float32";
}

}  // namespace lathe::formats
