#include "formats/matrix_stacks.h"

#include <cstring>
#include <map>
#include <memory>

#include "base/checked.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

// Far above what any model has: a few bytes of a damaged header must not become gigabytes of tensors.
constexpr std::size_t kMaxTensors = 1 << 18;

struct Stack {
  std::string_view stacked, matrix;  // names without the layer
};
constexpr Stack kStacks[] = {{"ffn_gate_exps", "ffn_gate"},
                             {"ffn_up_exps", "ffn_up"},
                             {"ffn_down_exps", "ffn_down"},
                             {"attn_k_b", "attn_k_b"},
                             {"attn_v_b", "attn_v_b"}};

// "blk.3.ffn_up.7.weight" in parts.
struct NameParts {
  std::string block;   // "blk.3."
  std::string name;    // "ffn_up"
  std::string number;  // "7", or empty
  std::string kind;    // ".weight", ".bias"
};

NameParts parts_of(const std::string& full) {
  NameParts parts;
  const std::size_t kind = full.rfind('.');
  const std::size_t block = full.starts_with("blk.") ? full.find('.', 4) : std::string::npos;
  if (kind == std::string::npos || block == std::string::npos || block >= kind) return parts;
  parts.block = full.substr(0, block + 1);
  parts.kind = full.substr(kind);
  parts.name = full.substr(block + 1, kind - block - 1);
  const std::size_t dot = parts.name.rfind('.');
  if (dot != std::string::npos && dot + 1 < parts.name.size() &&
      parts.name.find_first_not_of("0123456789", dot + 1) == std::string::npos) {
    parts.number = parts.name.substr(dot + 1);
    parts.name.resize(dot);
  }
  return parts;
}

Shape without_first(const Shape& shape) { return shape.rank() == 3 ? Shape{shape[1], shape[2]} : Shape{shape[1]}; }

Shape with_first(std::uint64_t first, const Shape& shape) {
  return shape.rank() == 2 ? Shape{first, shape[0], shape[1]} : Shape{first, shape[0]};
}

// The sources as one, read one after the other.
TensorSource joined(std::string name, std::vector<TensorSource> sources, const Shape& shape) {
  TensorSource all;
  all.name = std::move(name);
  all.codec = sources.front().codec;
  all.shape = shape;
  all.read = [name = all.name, codec = all.codec, shape, sources = std::move(sources)] {
    auto buffer = std::make_shared<std::vector<std::byte>>();
    for (const TensorSource& source : sources) {
      const PackedTensor tensor = source.read();
      const auto bytes = tensor.part("blocks").span();
      buffer->insert(buffer->end(), bytes.begin(), bytes.end());
    }
    return packed_blocks(name, *codec, shape, Bytes(*buffer, name, buffer));
  };
  return all;
}

}  // namespace

void add_unstacked(const PackedTensor& tensor, const std::string& file, arch::Weights& weights) {
  const NameParts parts = parts_of(tensor.name);
  const int rank = parts.kind == ".bias" ? 2 : 3;
  for (const Stack& stack : kStacks) {
    if (parts.name != stack.stacked || !parts.number.empty() || tensor.shape.rank() != rank) continue;
    const std::uint64_t count = tensor.shape[0];
    if (count > arch::kMaxHeads || weights.all().size() + count > kMaxTensors) {
      fail(file, "tensor \"{}\" holds {} matrices, which makes too many", tensor.name, count);
    }
    const Shape shape = without_first(tensor.shape);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::string name = fmt::format("{}{}.{}{}", parts.block, stack.matrix, i, parts.kind);
      if (weights.find(name) != nullptr) fail(file, "tensor \"{}\" appears twice", name);
      if (tensor.parts.empty()) {
        weights.add({name, tensor.codec, {}, shape, {}});
        continue;
      }
      const Bytes& bytes = tensor.part("blocks");
      const std::uint64_t size = bytes.size() / count;
      weights.add(packed_blocks(name, *tensor.codec, shape, bytes.slice(i * size, size, tensor.name)));
    }
    return;
  }
  if (weights.find(tensor.name) != nullptr) fail(file, "tensor \"{}\" appears twice", tensor.name);
  weights.add(tensor);
}

std::vector<TensorSource> stacked(std::vector<TensorSource> sources, const std::string& file) {
  std::map<std::string, std::vector<TensorSource>> stacks;
  std::vector<TensorSource> result;
  for (TensorSource& source : sources) {
    const NameParts parts = parts_of(source.name);
    const Stack* stack = nullptr;
    for (const Stack& row : kStacks) {
      if (!parts.number.empty() && parts.name == row.matrix) stack = &row;
    }
    if (stack == nullptr) {
      result.push_back(std::move(source));
      continue;
    }
    const std::string name = fmt::format("{}{}{}", parts.block, stack->stacked, parts.kind);
    std::vector<TensorSource>& members = stacks[name];
    if (members.empty()) {
      result.emplace_back();
      result.back().name = name;  // its place; filled below
    } else if (members.front().codec != source.codec || !(members.front().shape == source.shape)) {
      throw Error(fmt::format("GGUF files hold these {} and {} matrices as one tensor, \"{}\"",
                              members.front().codec->name(), source.codec->name(), name),
                  file, "give them one codec with --dtype, or save as .lathe");
    }
    members.push_back(std::move(source));
  }
  for (TensorSource& source : result) {
    const auto found = stacks.find(source.name);
    if (found == stacks.end()) continue;
    const Shape shape = with_first(found->second.size(), found->second.front().shape);
    source = joined(found->first, std::move(found->second), shape);
  }
  return result;
}

void split_latent_products(const arch::Architecture& a, arch::Weights& weights) {
  const std::uint64_t plain = a.head_dim - a.rotary_dim, rows = plain + a.v_head_dim;
  for (std::uint32_t layer = 0; a.mla.kv_rank > 0 && layer < a.n_layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    const PackedTensor* product = weights.find(block + "attn_kv_b.weight");
    if (product == nullptr) continue;
    if (!(product->shape == Shape{a.n_heads * rows, a.mla.kv_rank})) {
      fail(product->name, "has shape {}, expected {}", product->shape.text(),
           Shape{a.n_heads * rows, a.mla.kv_rank}.text());
    }
    const bool turns = block_format(*product->codec) != nullptr && block_format(*product->codec)->block_size == 1;
    for (std::uint64_t head = 0; head < a.n_heads; ++head) {
      const std::string key_name = fmt::format("{}attn_k_b.{}.weight", block, head),
                        value_name = fmt::format("{}attn_v_b.{}.weight", block, head);
      if (product->parts.empty()) {
        const Codec* key_codec = turns ? product->codec : &codec_named("F32");
        weights.add({key_name, key_codec, {}, Shape{a.mla.kv_rank, plain}, {}});
        weights.add({value_name, product->codec, {}, Shape{a.v_head_dim, a.mla.kv_rank}, {}});
        continue;
      }
      PackedTensor key = product->rows(head * rows, head * rows + plain);
      if (!turns) key = repack(key, codec_named("F32"));
      key = transpose(key);
      key.name = key_name;
      PackedTensor value = product->rows(head * rows + plain, (head + 1) * rows);
      value.name = value_name;
      weights.add(std::move(key));
      weights.add(std::move(value));
    }
    weights.remove(block + "attn_kv_b.weight");
  }
}

std::vector<TensorSource> with_latent_products_joined(std::vector<TensorSource> sources, const arch::Architecture& a) {
  if (a.mla.kv_rank == 0) return sources;
  std::map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < sources.size(); ++i) places[sources[i].name] = i;
  std::vector<TensorSource> result;
  for (TensorSource& source : sources) {
    const NameParts parts = parts_of(source.name);
    if (parts.name == "attn_v_b") continue;
    if (parts.name != "attn_k_b") {
      result.push_back(source);
      continue;
    }
    if (parts.number != "0") continue;
    std::vector<TensorSource> members;
    for (std::uint32_t head = 0; head < a.n_heads; ++head) {
      TensorSource key = sources[places.at(fmt::format("{}attn_k_b.{}.weight", parts.block, head))];
      key.read = [read = key.read] { return transpose(read()); };
      members.push_back(std::move(key));
      members.push_back(sources[places.at(fmt::format("{}attn_v_b.{}.weight", parts.block, head))]);
      if (members.back().codec != members.front().codec) {
        throw Error("the matrices of latent attention differ in codec", source.name, "give them one with --dtype");
      }
    }
    const std::uint64_t rows = a.n_heads * (std::uint64_t{a.head_dim} - a.rotary_dim + a.v_head_dim);
    result.push_back(joined(parts.block + "attn_kv_b.weight", std::move(members), Shape{rows, a.mla.kv_rank}));
  }
  return result;
}

}  // namespace lathe::formats
