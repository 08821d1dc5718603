#include "formats/tensor_source.h"

#include <set>

#include "arch/codec_mix.h"
#include "base/log.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

using arch::Architecture;

// How many heads' rows a tensor consists of; 0 when its rows have nothing to do with rotation.
std::uint32_t rotated_heads(std::string_view name, const Architecture& a) {
  if (a.position != arch::PositionKind::kRope || !name.starts_with("blk.")) return 0;
  if (name.ends_with(".attn_q.weight") || name.ends_with(".attn_q.bias")) return a.n_heads;
  if (name.ends_with(".attn_k.weight") || name.ends_with(".attn_k.bias")) return a.n_kv_heads;
  return 0;
}

bool divides(const Codec& codec, const Shape& shape) { return shape.cols() % codec.column_alignment({}) == 0; }

const Codec& target_codec(const PackedTensor& tensor, const Architecture& a, const std::string& dtype) {
  if (dtype.empty() || tensor.shape.rank() < 2) return *tensor.codec;
  if (const arch::CodecMix* mix = arch::find_codec_mix(dtype)) {
    return arch::codec_in_mix(*mix, a, tensor.name, tensor.shape.cols());
  }
  const Codec& codec = codec_named(dtype);
  if (divides(codec, tensor.shape)) return codec;
  const Codec& fallback = codec_named("F16");
  log_warning("tensor \"{}\": rows of {} weights do not divide into {} blocks, stored as {}", tensor.name,
              tensor.shape.cols(), codec.name(), fallback.name());
  return fallback;
}

TensorSource source_of(const PackedTensor& tensor, const Architecture& a, const std::string& dtype, RopeLayout layout) {
  TensorSource source;
  source.name = tensor.name;
  source.shape = tensor.shape;
  source.codec = &target_codec(tensor, a, dtype);
  if (source.codec == tensor.codec) source.params = tensor.params;
  const std::uint32_t heads = rotated_heads(tensor.name, a);
  source.read = [tensor, codec = source.codec, params = source.params, heads, a, layout] {
    const PackedTensor packed = repack(tensor, *codec, params);
    return heads == 0 ? packed : change_rope_layout(packed, a, heads, a.rope_layout, layout);
  };
  return source;
}

}  // namespace

std::uint64_t source_bytes(const TensorSource& source) {
  std::uint64_t total = 0;
  for (const PartSpec& part : source.codec->parts(source.shape, source.params)) {
    total += part.shape.elements() * dtype_bytes(part.dtype);
  }
  return total;
}

void write_and_drop(AtomicFile& file, const Bytes& bytes) {
  file.write(bytes.span());
  drop_pages(bytes.span());
}

std::vector<TensorSource> tensor_sources(const ModelFile& model, const std::string& dtype, RopeLayout layout) {
  std::vector<TensorSource> sources;
  std::set<std::string, std::less<>> done;
  const auto add = [&](const PackedTensor& tensor) {
    if (tensor.parts.empty()) fail(model.path, "tensor \"{}\" was loaded without its data", tensor.name);
    sources.push_back(source_of(tensor, model.architecture, dtype, layout));
    done.insert(tensor.name);
  };
  for (const arch::WeightSpec& spec : arch::weight_schema(model.architecture)) add(model.weights.at(spec.name));
  for (const auto& [name, tensor] : model.weights.all()) {
    if (!done.contains(name)) add(tensor);
  }
  return sources;
}

}  // namespace lathe::formats
