#include "formats/llama2c.h"

#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "arch/families.h"
#include "formats/tensor_layout.h"

namespace lathe::formats {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;
constexpr std::uint64_t kHeaderBytes = 256;       // versions 1 and 2
constexpr std::uint64_t kLegacyHeaderBytes = 28;  // version 0
constexpr std::int32_t kMaxGroup = 1 << 16;

struct Header {
  int version = 0;
  arch::Architecture architecture;
  int group_size = 0;  // version 2
};

// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len.
using Fields = std::array<std::int32_t, 7>;

arch::Architecture architecture_of_header(const Fields& fields, std::string_view file) {
  static constexpr std::string_view kNames[] = {"model width",   "feed-forward width", "layer count",   "head count",
                                                "KV head count", "vocabulary size",    "context length"};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i] <= 0) fail(file, "{} is {}", kNames[i], fields[i]);
  }
  arch::Architecture a = arch::family_named("llama", file).defaults;
  a.width = static_cast<std::uint32_t>(fields[0]);
  a.ffn_width = static_cast<std::uint32_t>(fields[1]);
  a.n_layers = static_cast<std::uint32_t>(fields[2]);
  a.n_heads = static_cast<std::uint32_t>(fields[3]);
  a.n_kv_heads = static_cast<std::uint32_t>(fields[4]);
  a.vocab_size = static_cast<std::uint32_t>(fields[5]);
  a.context_length = static_cast<std::uint32_t>(fields[6]);
  if (a.width % a.n_heads != 0) fail(file, "width {} does not divide into {} heads", a.width, a.n_heads);
  a.head_dim = a.v_head_dim = a.rotary_dim = a.width / a.n_heads;
  a.rope_layout = RopeLayout::kInterleaved;
  a.norm_eps = 1e-5f;
  arch::validate(a, file);
  return a;
}

Fields read_fields(ByteReader& reader) {
  Fields fields;
  for (std::int32_t& field : fields) field = reader.read<std::int32_t>("the header");
  return fields;
}

Header read_header(ByteReader& reader) {
  Header header;
  const std::string& file = reader.name();
  const bool legacy = reader.remaining() < 4 || ByteReader(reader.bytes()).read<std::uint32_t>("the magic") != kMagic;
  if (legacy) {
    Fields fields = read_fields(reader);
    const bool untied = fields[5] < 0;  // a negative vocabulary size says that the output head is stored
    if (untied && fields[5] != INT32_MIN) fields[5] = -fields[5];
    header.architecture = architecture_of_header(fields, file);
    header.architecture.tied_embeddings = !untied;
    return header;
  }
  reader.skip(4, "the magic");
  header.version = reader.read<std::int32_t>("the version");
  if (header.version != 1 && header.version != 2) {
    fail(file, "is a llama2.c checkpoint of version {}, expected 1 or 2", header.version);
  }
  header.architecture = architecture_of_header(read_fields(reader), file);
  header.architecture.tied_embeddings = reader.read<std::uint8_t>("the shared classifier flag") != 0;
  if (header.version == 2) {
    header.group_size = reader.read<std::int32_t>("the group size");
    if (header.group_size <= 0 || header.group_size > kMaxGroup)
      fail(file, "has groups of {} weights", header.group_size);
  }
  reader.skip(kHeaderBytes - reader.position(), "the header");
  return header;
}

// Reads one run of tensors after the other, as the exporter wrote them.
class TensorReader {
 public:
  TensorReader(ByteReader& reader, const Header& header, bool with_data, arch::Weights& weights)
      : reader_(reader), header_(header), with_data_(with_data), weights_(weights) {}

  void floats(std::string name, const Shape& shape) { add(std::move(name), codec_named("F32"), {}, shape); }

  // Matrices are quantized in version 2.
  void matrix(std::string name, std::uint64_t out, std::uint64_t in) {
    if (header_.version != 2) {
      floats(std::move(name), Shape{out, in});
    } else if (in % static_cast<std::uint64_t>(header_.group_size) == 0) {
      add(std::move(name), codec_named("I8_GROUP"), {.bits = 8, .group_size = header_.group_size}, Shape{out, in});
    } else {
      flat_groups(std::move(name), out, in);
    }
  }

  // One tensor for each layer; `pattern` is what follows "blk.N.".
  void matrices(std::string_view pattern, std::uint64_t out, std::uint64_t in) {
    for (std::uint32_t layer = 0; layer < header_.architecture.n_layers; ++layer) {
      matrix(fmt::format("blk.{}.{}.weight", layer, pattern), out, in);
    }
  }
  void norms(std::string_view pattern) {
    for (std::uint32_t layer = 0; layer < header_.architecture.n_layers; ++layer) {
      floats(fmt::format("blk.{}.{}.weight", layer, pattern), Shape{header_.architecture.width});
    }
  }

 private:
  // The exporter cuts a matrix into groups as one run of numbers, so that a group may cross from one row into the next.
  // Groups of the greatest common divisor of both lengths do not, and say the same with repeated scales.
  void flat_groups(std::string name, std::uint64_t out, std::uint64_t in) {
    const std::uint64_t group = static_cast<std::uint64_t>(header_.group_size), narrow = std::gcd(in, group);
    const Codec& codec = codec_named("I8_GROUP");
    const CodecParams params{.bits = 8, .group_size = static_cast<int>(narrow)};
    if (!with_data_) {
      weights_.add(PackedTensor{std::move(name), &codec, params, Shape{out, in}, {}});
      return;
    }
    const std::string what = fmt::format("tensor \"{}\"", name);
    const std::uint64_t elements = checked_mul(out, in, "elements of a tensor", reader_.name());
    if (elements % group != 0) fail(reader_.name(), "{}: {} weights are no whole groups of {}", what, elements, group);
    Bytes values = reader_.take(elements, what);
    const Bytes scales = reader_.take(checked_mul(elements / group, sizeof(float), what, reader_.name()), what);
    auto repeated = std::make_shared<std::vector<float>>(elements / narrow);
    for (std::uint64_t i = 0; i < repeated->size(); ++i) {
      std::memcpy(&(*repeated)[i], scales.data() + i * narrow / group * sizeof(float), sizeof(float));
    }
    Bytes spread(std::as_bytes(std::span(*repeated)), reader_.name(), repeated);
    weights_.add(packed_parts(std::move(name), codec, Shape{out, in}, params, {values, spread}));
  }

  void add(std::string name, const Codec& codec, const CodecParams& params, const Shape& shape) {
    if (!with_data_) {
      weights_.add(PackedTensor{std::move(name), &codec, params, shape, {}});
      return;
    }
    const std::string what = fmt::format("tensor \"{}\"", name);
    weights_.add(read_parts(std::move(name), codec, params, shape, [&](const PartSpec& part) {
      const std::uint64_t size =
          checked_mul(part.shape.elements(), dtype_bytes(part.dtype), "bytes of a tensor", reader_.name());
      return reader_.take(size, what);
    }));
  }

  ByteReader& reader_;
  const Header& header_;
  bool with_data_;
  arch::Weights& weights_;
};

void read_layer_matrices(TensorReader& tensors, const arch::Architecture& a) {
  tensors.matrices("attn_q", a.q_width(), a.width);
  tensors.matrices("attn_k", a.k_width(), a.width);
  tensors.matrices("attn_v", a.v_width(), a.width);
  tensors.matrices("attn_output", a.width, a.q_width());
}

void read_ffn_matrices(TensorReader& tensors, const arch::Architecture& a) {
  tensors.matrices("ffn_gate", a.ffn_width, a.width);
  tensors.matrices("ffn_down", a.width, a.ffn_width);
  tensors.matrices("ffn_up", a.ffn_width, a.width);
}

void read_legacy(TensorReader& tensors, ByteReader& reader, const arch::Architecture& a, bool with_data) {
  tensors.floats("token_embd.weight", Shape{a.vocab_size, a.width});
  tensors.norms("attn_norm");
  read_layer_matrices(tensors, a);
  tensors.norms("ffn_norm");
  read_ffn_matrices(tensors, a);
  tensors.floats("output_norm.weight", Shape{a.width});
  // Tables of cosines and sines, seq_len x head_dim / 2 each, which follow from the header.
  if (with_data) reader.skip(std::uint64_t{a.context_length} * a.head_dim * sizeof(float), "the rotary tables");
  if (!a.tied_embeddings) tensors.floats("output.weight", Shape{a.vocab_size, a.width});
}

void read_versioned(TensorReader& tensors, const arch::Architecture& a) {
  tensors.norms("attn_norm");
  tensors.norms("ffn_norm");
  tensors.floats("output_norm.weight", Shape{a.width});
  tensors.matrix("token_embd.weight", a.vocab_size, a.width);
  read_layer_matrices(tensors, a);
  read_ffn_matrices(tensors, a);
  if (!a.tied_embeddings) tensors.matrix("output.weight", a.vocab_size, a.width);
}

// The exact size of a version 0 file, or nothing when it overflows.
std::uint64_t legacy_bytes(const arch::Architecture& a) {
  const auto mul = [](std::uint64_t x, std::uint64_t y) { return checked_mul(x, y, "size of the model"); };
  const std::uint64_t embedding = mul(a.vocab_size, a.width);
  const std::uint64_t layer = mul(a.width, 2) +
                              mul(a.width, 2 * std::uint64_t{a.q_width()} + a.k_width() + a.v_width()) +
                              mul(3 * std::uint64_t{a.ffn_width}, a.width);
  std::uint64_t floats = checked_add(embedding, mul(layer, a.n_layers), "size of the model");
  floats += a.width + mul(a.context_length, a.head_dim) + (a.tied_embeddings ? 0 : embedding);
  return kLegacyHeaderBytes + mul(floats, sizeof(float));
}

}  // namespace

bool is_llama2c(const Bytes& bytes) {
  ByteReader reader(bytes);
  if (bytes.size() < kLegacyHeaderBytes) return false;
  if (ByteReader(bytes).read<std::uint32_t>("the magic") == kMagic) return true;
  try {
    return legacy_bytes(read_header(reader).architecture) == bytes.size();
  } catch (const Error&) {
    return false;
  }
}

ModelFile read_llama2c(const Bytes& bytes, const LoadOptions& options) {
  ByteReader reader(bytes);
  const Header header = read_header(reader);
  ModelFile model;
  model.path = bytes.name();
  model.kind = FileKind::kLlama2c;
  model.architecture = header.architecture;
  TensorReader tensors(reader, header, options.weights, model.weights);
  if (header.version == 0) {
    read_legacy(tensors, reader, header.architecture, options.weights);
  } else {
    read_versioned(tensors, header.architecture);
  }
  if (options.weights && reader.remaining() != 0) {
    fail(reader.name(), "has {} bytes after the last tensor; the header and the tensors do not fit together",
         reader.remaining());
  }
  return model;
}

}  // namespace lathe::formats
