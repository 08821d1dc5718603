#include "formats/hf_quantized.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/json.h"
#include "formats/hf_weights.h"
#include "formats/tensor_layout.h"
#include "tensor/codecs/int_group.h"

namespace lathe::formats {
namespace {

using Method = HfQuantization::Method;

constexpr std::array<std::string_view, 4> kParts = {"qweight", "qzeros", "scales", "g_idx"};
// AWQ's nibble i of a word belongs to this one of the word's 8 columns.
constexpr std::array<std::uint64_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::uint64_t kWordBits = 32;

std::vector<std::uint32_t> words_of(const PackedTensor& tensor) {
  const Bytes& data = tensor.part("blocks");
  std::vector<std::uint32_t> words(data.size() / sizeof(std::uint32_t));
  std::memcpy(words.data(), data.data(), words.size() * sizeof(std::uint32_t));
  return words;
}

// Integer `index` of `bits` bits in a stream of words that lie `stride` apart, lowest bits first. A width of 3 bits
// crosses words.
std::uint32_t stream_at(const std::uint32_t* words, std::uint64_t stride, std::uint64_t index, int bits) {
  const std::uint64_t bit = index * static_cast<std::uint64_t>(bits), word = bit / kWordBits, shift = bit % kWordBits;
  std::uint64_t value = words[word * stride] >> shift;
  if (shift + static_cast<std::uint64_t>(bits) > kWordBits) {
    value |= static_cast<std::uint64_t>(words[(word + 1) * stride]) << (kWordBits - shift);
  }
  return static_cast<std::uint32_t>(value & ((1u << bits) - 1));
}

// Integer of row r, column c of an AWQ matrix whose rows are `words` words.
std::uint32_t awq_at(const std::vector<std::uint32_t>& words, std::uint64_t row_words, std::uint64_t r,
                     std::uint64_t c) {
  const auto nibble =
      static_cast<std::uint64_t>(std::find(kAwqOrder.begin(), kAwqOrder.end(), c % 8) - kAwqOrder.begin());
  return words[r * row_words + c / 8] >> (4 * nibble) & 15u;
}

}  // namespace

std::optional<HfQuantization> hf_quantization(const Json& config, const arch::Family& family,
                                              const std::string& where) {
  const auto found = config.find("quantization_config");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (!found->is_object()) {
    throw Error(fmt::format("\"quantization_config\" is {}, not an object",
                            found->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 64)),
                where, "without it weights would be taken for what they are not; restore the original config.json");
  }
  const Json& json = *found;
  const auto method = json_get_or<std::string>(json, "quant_method", "", where);
  if (!method.empty() && method == family.hf_quantization) return std::nullopt;
  HfQuantization q;
  if (method == "gptq") {
    const auto format = json_get_or<std::string>(json, "checkpoint_format", "gptq", where);
    if (format != "gptq" && format != "gptq_v2") {
      throw Error(fmt::format("is quantized in GPTQ's checkpoint format \"{}\", which Lathe does not read", format),
                  where, "\"gptq\" and \"gptq_v2\" can be read");
    }
    q.method = Method::kGptq;
    q.zero_offset = format == "gptq";
    q.bits = json_get<int>(json, "bits", where);
    q.group_size = json_get_or<int>(json, "group_size", -1, where);
    q.symmetric = json_get_or<bool>(json, "sym", false, where);
    if (q.bits != 2 && q.bits != 3 && q.bits != 4 && q.bits != 8) {
      throw Error(fmt::format("GPTQ checkpoints have 2, 3, 4 or 8 bits, not {}", q.bits), where);
    }
  } else if (method == "awq") {
    const auto version = json_get_or<std::string>(json, "version", "gemm", where);
    if (version != "gemm" && version != "GEMM") {
      throw Error(fmt::format("is quantized in AWQ's layout \"{}\", which Lathe does not read", version), where,
                  "\"gemm\" can be read");
    }
    q.method = Method::kAwq;
    q.bits = json_get_or<int>(json, "bits", json_get_or<int>(json, "w_bit", 4, where), where);
    q.group_size = json_get_or<int>(json, "group_size", json_get_or<int>(json, "q_group_size", 128, where), where);
    if (q.bits != 4) throw Error(fmt::format("AWQ checkpoints have 4 bits, not {}", q.bits), where);
  } else if (method == "bitnet") {
    if (json_get_or<std::string>(json, "quantization_mode", "offline", where) != "offline") {
      throw Error("holds weights that are made ternary while they are loaded, which Lathe does not do", where,
                  "use the checkpoint with packed weights");
    }
    q.method = Method::kBitnet;
    q.bits = 2;
    q.symmetric = true;
    q.divides = json_get_or<std::string>(json, "linear_class", "bitlinear", where) == "bitlinear";
  } else {
    throw Error(fmt::format("is quantized with {}, which Lathe does not read",
                            method.empty() ? "an unnamed method" : "\"" + method + "\""),
                where,
                "\"gptq\", \"awq\" and \"bitnet\" checkpoints can be read; otherwise use the unquantized checkpoint");
  }
  if (q.group_size == -1) q.group_size = 0;
  if (q.group_size < 0 || q.group_size > 1 << 20) {
    throw Error(fmt::format("its quantization groups of {} columns are out of range", q.group_size), where);
  }
  return q;
}

bool HfQuantizedWeights::take(const std::string& hf_name, PackedTensor tensor) {
  const std::size_t dot = hf_name.rfind('.');
  if (dot == std::string::npos) return false;
  const std::string part = hf_name.substr(dot + 1);
  if (quantization_.method == Method::kBitnet) {
    if (part != "weight_scale" && (part != "weight" || tensor.codec->name() != "U8")) return false;
  } else if (std::find(kParts.begin(), kParts.end(), part) == kParts.end()) {
    return false;
  }
  linears_[hf_name.substr(0, dot)][part] = std::move(tensor);
  return true;
}

PackedTensor HfQuantizedWeights::assemble(const std::string& linear, const Parts& parts, bool with_data,
                                          const std::string& where) const {
  const std::string place = fmt::format("{}, linear \"{}\"", where, linear);
  const bool gptq = quantization_.method == Method::kGptq;
  const auto need = [&](std::string_view name, std::string_view codec) -> const PackedTensor& {
    const auto found = parts.find(name);
    if (found == parts.end())
      throw Error(fmt::format("its part \"{}\" is missing", name), place, "the checkpoint is incomplete");
    if (found->second.codec->name() != codec || found->second.shape.rank() != 2) {
      fail(place, "its part \"{}\" is {} {}, expected a matrix of {}", name, found->second.codec->name(),
           found->second.shape.text(), codec);
    }
    return found->second;
  };
  const PackedTensor &qweight = need("qweight", "I32"), &qzeros = need("qzeros", "I32"),
                     &scales = need("scales", "F16");
  const auto bits = static_cast<std::uint64_t>(quantization_.bits);
  // Stored as [inputs, outputs], with the integers packed along the inputs (GPTQ) or the outputs (AWQ).
  const std::uint64_t out = scales.shape[1], groups = scales.shape[0];
  const std::uint64_t in = gptq ? checked_mul(qweight.shape[0], kWordBits, "inputs", place) / bits : qweight.shape[0];
  const CodecParams params{quantization_.bits, quantization_.group_size};
  const auto check = [&](const PackedTensor& tensor, std::string_view name, const Shape& expected) {
    if (tensor.shape == expected) return;
    fail(place, "its part \"{}\" has shape {}, expected {}", name, tensor.shape.text(), expected.text());
  };
  if (out * bits % kWordBits != 0 || in * bits % kWordBits != 0 || in == 0) {
    fail(place, "{} inputs and {} outputs of {} bits do not fill 32-bit words", in, out, bits);
  }
  const std::uint64_t out_words = out * bits / kWordBits;
  check(qweight, "qweight", gptq ? Shape{in * bits / kWordBits, out} : Shape{in, out_words});
  check(scales, "scales", Shape{int_groups(params, in), out});
  check(qzeros, "qzeros", Shape{groups, out_words});
  const Shape shape{out, in};
  if (!with_data) {
    return {linear, &codec_named(quantization_.symmetric ? "INT_SYM" : "INT_ASYM"), params, shape, {}};
  }
  if (const auto index = parts.find("g_idx"); index != parts.end()) {
    const std::vector<std::uint32_t> group_of = words_of(index->second);
    const std::uint64_t size = int_group_columns(params, in);
    if (index->second.codec->name() != "I32" || group_of.size() != in) fail(place, "its part \"g_idx\" is damaged");
    for (std::uint64_t i = 0; i < in; ++i) {
      if (group_of[i] == i / size) continue;
      throw Error("its groups are not runs of columns (\"desc_act\")", place,
                  "quantize with static groups or without act-order");
    }
  }
  const std::vector<std::uint32_t> weight_words = words_of(qweight), zero_words = words_of(qzeros);
  std::vector<IntGrid> grids(out * groups);
  const std::vector<float> scale_values = scales.to_floats();
  const float middle = fixed_zero(IntGroupKind::kSymmetric, quantization_.bits);
  bool symmetric = true;
  for (std::uint64_t g = 0; g < groups; ++g) {
    for (std::uint64_t o = 0; o < out; ++o) {
      const std::uint32_t stored = gptq ? stream_at(zero_words.data() + g * out_words, 1, o, quantization_.bits)
                                        : awq_at(zero_words, out_words, g, o);
      const float zero = static_cast<float>(stored + (quantization_.zero_offset ? 1 : 0));
      grids[o * groups + g] = {scale_values[g * out + o], zero};
      symmetric = symmetric && zero == middle;
    }
  }
  std::vector<std::uint8_t> levels(out * in);
  for (std::uint64_t o = 0; o < out; ++o) {
    for (std::uint64_t i = 0; i < in; ++i) {
      const std::uint32_t level =
          gptq ? stream_at(weight_words.data() + o, out, i, quantization_.bits) : awq_at(weight_words, out_words, i, o);
      levels[o * in + i] = static_cast<std::uint8_t>(level);
    }
  }
  const Codec& codec = codec_named(symmetric ? "INT_SYM" : "INT_ASYM");
  try {
    return pack_int_groups(linear, *int_group_codec(codec), shape, params, levels, grids);
  } catch (const Error& error) {
    throw error.within(place);
  }
}

// Four ternary weights a byte, least significant bits first, t + 1 in two bits: byte [r, c] has column c of rows r,
// r + n, r + 2 n and r + 3 n of 4 n.
PackedTensor HfQuantizedWeights::assemble_ternary(const std::string& linear, const Parts& parts, bool with_data,
                                                  const std::string& where) const {
  const std::string place = fmt::format("{}, linear \"{}\"", where, linear);
  const auto weight = parts.find("weight"), stored = parts.find("weight_scale");
  if (weight == parts.end() || stored == parts.end()) {
    throw Error(fmt::format("its part \"{}\" is missing", weight == parts.end() ? "weight" : "weight_scale"), place,
                "the checkpoint is incomplete");
  }
  const Shape& packed = weight->second.shape;
  if (packed.rank() != 2) fail(place, "its packed weight has shape {}, expected a matrix", packed.text());
  if (stored->second.shape.elements() != 1) {
    fail(place, "its scale has shape {}, expected one number", stored->second.shape.text());
  }
  constexpr std::uint64_t kPerByte = 4;
  const std::uint64_t n = packed[0], in = packed[1], out = checked_mul(n, kPerByte, "outputs", place);
  const IntGroupCodec& codec = *int_group_codec(codec_named("INT_SYM"));
  const CodecParams params{quantization_.bits, 0};
  if (!with_data) return {linear, &codec, params, Shape{out, in}, {}};
  const float number = stored->second.to_floats()[0], scale = quantization_.divides ? 1 / number : number;
  if (!std::isfinite(scale) || scale == 0) fail(place, "its scale is {}", number);
  const Bytes& bytes = weight->second.part("blocks");
  std::vector<std::uint8_t> levels(out * in);
  for (std::uint64_t i = 0; i < n * in; ++i) {
    const unsigned byte = std::to_integer<unsigned>(bytes.data()[i]);
    for (std::uint64_t k = 0; k < kPerByte; ++k) {
      const unsigned plus_one = byte >> (2 * k) & 3;
      if (plus_one > 2) fail(place, "its packed weight holds a value that is not ternary");
      levels[k * n * in + i] = static_cast<std::uint8_t>(plus_one + 1);  // level 2 is zero
    }
  }
  const IntGrid grid{float_from_half(half_from_float(scale)), fixed_zero(codec.kind(), quantization_.bits)};
  try {
    return pack_int_groups(linear, codec, Shape{out, in}, params, levels, std::vector<IntGrid>(out, grid));
  } catch (const Error& error) {
    throw error.within(place);
  }
}

void HfQuantizedWeights::finish(const arch::Architecture& architecture, bool with_data, const std::string& where,
                                arch::Weights& weights) const {
  const arch::Family& family = arch::family_named(architecture.family, where);
  for (const auto& [linear, parts] : linears_) {
    const std::string name = hf_canonical_name(family, linear + ".weight");
    if (name.empty()) {
      throw Error(fmt::format("is not part of a {} model", family.name),
                  fmt::format("{}, linear \"{}\"", where, linear));
    }
    PackedTensor tensor = quantization_.method == Method::kBitnet ? assemble_ternary(linear, parts, with_data, where)
                                                                  : assemble(linear, parts, with_data, where);
    // A quantized Conv1D is packed like any other linear, so that only the order of rows can differ.
    const bool grouped = arch::name_rule(family, name)->storage == arch::Storage::kGroupedQkv;
    if (grouped && with_data) tensor = ungroup_qkv(tensor, architecture);
    tensor.name = name;
    weights.add(std::move(tensor));
  }
}

}  // namespace lathe::formats
