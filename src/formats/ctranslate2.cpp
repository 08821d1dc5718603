#include "formats/ctranslate2.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "arch/families.h"
#include "base/file.h"
#include "base/log.h"

namespace lathe::formats {
namespace {

constexpr std::uint32_t kFormatVersion = 2, kMostVersion = 16, kRevision = 2;
constexpr std::string_view kSpecification = "TransformerBase";
constexpr std::uint32_t kHeads = 8;         // of every TransformerBase
constexpr std::uint32_t kPositions = 1024;  // the file sets no end to them
constexpr std::uint64_t kMaxName = 256, kSmallestVariable = 8;
constexpr std::uint8_t kMostDimensions = 4;

struct Variable {
  Shape shape;
  std::uint8_t item_bytes = 0;
  Bytes data;
};
using Variables = std::map<std::string, Variable, std::less<>>;

// Characters, of which the last is the terminator.
std::string read_zero_ended(ByteReader& reader, std::string_view what) {
  const auto size = reader.read<std::uint16_t>(what);
  if (size == 0 || size > kMaxName) fail(reader.name(), "{} of {} bytes, expected 1 to {}", what, size, kMaxName);
  std::string name = reader.string(size, what);
  if (name.back() != '\0' || name.find('\0') != name.size() - 1)
    fail(reader.name(), "{} is not a text that ends with a zero byte", what);
  name.pop_back();
  return name;
}

Variable read_variable(ByteReader& reader, const std::string& name) {
  Variable variable;
  const auto rank = reader.read<std::uint8_t>("a variable's rank");
  if (rank > kMostDimensions)
    fail(reader.name(), "variable \"{}\" has rank {}, expected at most {}", name, rank, kMostDimensions);
  std::vector<std::uint64_t> extents;
  std::uint64_t elements = 1;
  for (int axis = 0; axis < rank; ++axis) {
    extents.push_back(reader.read<std::uint32_t>("a variable's shape"));
    elements = checked_mul(elements, extents.back(), "elements of a variable", reader.name());
  }
  variable.item_bytes = reader.read<std::uint8_t>("a variable's element size");
  const auto count = reader.read<std::uint32_t>("a variable's element count");
  if (count != elements || elements == 0)
    fail(reader.name(), "variable \"{}\" has {} elements, its shape says {}", name, count, elements);
  if (variable.item_bytes != 1 && variable.item_bytes != 2 && variable.item_bytes != 4)
    fail(reader.name(), "variable \"{}\" has elements of {} bytes", name, variable.item_bytes);
  variable.data = reader.take(checked_mul(elements, variable.item_bytes, "bytes of a variable", reader.name()), name);
  if (rank == 1) variable.shape = Shape{extents[0]};
  if (rank == 2) variable.shape = Shape{extents[0], extents[1]};
  return variable;
}

Variables read_variables(ByteReader& reader) {
  const auto version = reader.read<std::uint32_t>("the version");
  if (version != kFormatVersion)
    throw Error(fmt::format("is a CTranslate2 model of format version {}, Lathe reads {}", version, kFormatVersion),
                reader.name(), "convert the original model");
  const std::string specification = read_zero_ended(reader, "the specification's name");
  if (specification != kSpecification)
    fail(reader.name(), "is a CTranslate2 model of the specification {}, Lathe reads {}", specification,
         kSpecification);
  const auto revision = reader.read<std::uint32_t>("the revision");
  if (revision != kRevision)
    fail(reader.name(), "is revision {} of {}, Lathe reads {}", revision, kSpecification, kRevision);
  const auto count = reader.read<std::uint32_t>("the number of variables");
  if (count > reader.remaining() / kSmallestVariable)
    fail(reader.name(), "{} variables do not fit the {} bytes left", count, reader.remaining());
  Variables variables;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::string name = read_zero_ended(reader, "a variable's name");
    Variable variable = read_variable(reader, name);
    if (!variables.emplace(name, std::move(variable)).second)
      fail(reader.name(), "variable \"{}\" appears twice", name);
  }
  if (reader.remaining() != 0) fail(reader.name(), "has {} bytes after the last variable", reader.remaining());
  return variables;
}

class VariableReader {
 public:
  VariableReader(Variables variables, std::string file) : variables_(std::move(variables)), file_(std::move(file)) {}

  // The shape of a variable that must be there with so many axes.
  const Shape& shape(const std::string& name, int rank) {
    const Shape& found = at(name).shape;
    if (found.rank() != rank) fail(file_, "variable \"{}\" has rank {}, expected {}", name, found.rank(), rank);
    return found;
  }

  std::uint32_t layers(std::string_view side) const {
    std::uint32_t count = 0;
    while (count < arch::kMaxLayers &&
           variables_.contains(fmt::format("{}/layer_{}/self_attention/linear_0/weight", side, count))) {
      ++count;
    }
    return count;
  }

  // Rows [begin, end) of a matrix or vector, in floats.
  PackedTensor rows(std::string canonical, const std::string& name, std::uint64_t begin, std::uint64_t end) {
    const Variable& variable = at(name);
    const Shape& shape = variable.shape;
    const std::uint64_t total = shape.rank() == 1 ? shape.elements() : shape.rows();
    if (shape.rank() == 0 || end > total)
      fail(file_, "variable \"{}\" has shape {}, expected {} rows", name, shape.text(), end);
    const std::uint64_t cols = shape.rank() == 1 ? 1 : shape.cols();
    const Shape part = shape.rank() == 1 ? Shape{end - begin} : Shape{end - begin, cols};
    const Bytes data =
        variable.data.slice(begin * cols * variable.item_bytes, (end - begin) * cols * variable.item_bytes, name);
    if (variable.item_bytes == 4) return packed_blocks(std::move(canonical), codec_named("F32"), part, data);
    return pack(std::move(canonical), codec_named("F32"), part, dequantized(name, variable, data, begin, cols));
  }

  PackedTensor whole(std::string canonical, const std::string& name) {
    const Shape& shape = at(name).shape;
    return rows(std::move(canonical), name, 0,
                shape.rank() == 1   ? shape.elements()
                : shape.rank() == 0 ? 0
                                    : shape.rows());
  }

  // Every variable but scales was asked for, or is named here.
  std::vector<std::string> unused() const {
    std::vector<std::string> names;
    for (const auto& [name, variable] : variables_) {
      if (!used_.contains(name) && !name.ends_with("_scale")) names.push_back(name);
    }
    return names;
  }

 private:
  const Variable& at(const std::string& name) {
    const auto found = variables_.find(name);
    if (found == variables_.end()) fail(file_, "variable \"{}\" is missing", name);
    used_[name] = true;
    return found->second;
  }

  // Integers divided by the scale of the variable, or of their row.
  std::vector<float> dequantized(const std::string& name, const Variable& variable, const Bytes& data,
                                 std::uint64_t begin, std::uint64_t cols) {
    const Variable& scale = at(name + "_scale");
    const std::uint64_t scales = scale.shape.rank() == 0 ? 1 : scale.shape.elements();
    const std::uint64_t rows = variable.shape.rank() == 1 ? variable.shape.elements() : variable.shape.rows();
    if (scale.item_bytes != 4 || (scales != 1 && scales != rows))
      fail(file_, "variable \"{}\" has {} scales for {} rows", name, scales, rows);
    std::vector<float> values(data.size() / variable.item_bytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
      float divisor;
      std::memcpy(&divisor, scale.data.data() + (scales == 1 ? 0 : begin + i / cols) * sizeof(float), sizeof(float));
      if (variable.item_bytes == 2) {
        std::int16_t value;
        std::memcpy(&value, data.data() + i * sizeof(value), sizeof(value));
        values[i] = static_cast<float>(value) / divisor;
      } else {
        values[i] = static_cast<float>(static_cast<std::int8_t>(data.data()[i])) / divisor;
      }
    }
    return values;
  }

  Variables variables_;
  std::string file_;
  std::map<std::string, bool, std::less<>> used_;
};

arch::Architecture architecture_of(VariableReader& reader, const std::string& file) {
  arch::Architecture a = arch::family_named("transformer", file).defaults;
  const Shape &target = reader.shape("decoder/embeddings/weight", 2),
              &source = reader.shape("encoder/embeddings/weight", 2);
  a.width = narrow<std::uint32_t>(target.cols(), "model width", file);
  a.vocab_size = narrow<std::uint32_t>(target.rows(), "vocabulary size", file);
  a.encoder.vocab_size = narrow<std::uint32_t>(source.rows(), "vocabulary size of the encoder", file);
  a.n_layers = reader.layers("decoder");
  a.encoder.n_layers = reader.layers("encoder");
  if (a.n_layers == 0 || a.encoder.n_layers == 0)
    fail(file, "has {} layers of the decoder and {} of the encoder", a.n_layers, a.encoder.n_layers);
  a.ffn_width =
      narrow<std::uint32_t>(reader.shape("decoder/layer_0/ffn/linear_0/weight", 2).rows(), "feed-forward width", file);
  if (a.width % kHeads != 0) fail(file, "width {} does not divide into {} heads", a.width, kHeads);
  a.n_heads = a.n_kv_heads = kHeads;
  a.head_dim = a.v_head_dim = a.width / kHeads;
  a.context_length = kPositions;
  a.encoder.start_token = 1;
  arch::find_family("transformer")->settle(a);
  arch::validate(a, file);
  return a;
}

// The parts of a product, one below the other in the file: queries, keys and values, or some of them.
void add_linears(VariableReader& reader, const std::string& variable, const std::vector<std::string>& names,
                 std::uint64_t rows, arch::Weights& weights) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (const char* part : {"weight", "bias"}) {
      weights.add(reader.rows(fmt::format("{}.{}", names[i], part), fmt::format("{}/{}", variable, part), i * rows,
                              (i + 1) * rows));
    }
  }
}

void add_norm(VariableReader& reader, const std::string& variable, const std::string& name, arch::Weights& weights) {
  weights.add(reader.whole(name + ".weight", variable + "/gamma"));
  weights.add(reader.whole(name + ".bias", variable + "/beta"));
}

void add_stack(VariableReader& reader, const arch::Architecture& a, bool decoder, arch::Weights& weights) {
  const std::string side = decoder ? "decoder" : "encoder", prefix = decoder ? "dec." : "enc.";
  for (std::uint32_t i = 0; i < (decoder ? a.n_layers : a.encoder.n_layers); ++i) {
    const std::string layer = fmt::format("{}/layer_{}/", side, i), block = fmt::format("{}blk.{}.", prefix, i);
    const auto linears = [&](const std::string& variable, std::vector<std::string> names, std::uint64_t rows) {
      for (std::string& name : names) name.insert(0, block);
      add_linears(reader, layer + variable, names, rows, weights);
    };
    add_norm(reader, layer + "self_attention/layer_norm", block + "attn_norm", weights);
    linears("self_attention/linear_0", {"attn_q", "attn_k", "attn_v"}, a.width);
    linears("self_attention/linear_1", {"attn_output"}, a.width);
    if (decoder) {
      add_norm(reader, layer + "attention/layer_norm", block + "cross_attn_norm", weights);
      linears("attention/linear_0", {"cross_attn_q"}, a.width);
      linears("attention/linear_1", {"cross_attn_k", "cross_attn_v"}, a.width);
      linears("attention/linear_2", {"cross_attn_output"}, a.width);
    }
    add_norm(reader, layer + "ffn/layer_norm", block + "ffn_norm", weights);
    linears("ffn/linear_0", {"ffn_up"}, a.ffn_width);
    linears("ffn/linear_1", {"ffn_down"}, a.width);
  }
  add_norm(reader, side + "/layer_norm", prefix + "output_norm", weights);
}

}  // namespace

bool is_ctranslate2(const Bytes& bytes) {
  constexpr std::uint64_t kLongest = 64;
  if (bytes.size() < 8) return false;
  ByteReader reader(bytes);
  const auto version = reader.read<std::uint32_t>("the version");
  const auto size = reader.read<std::uint16_t>("the name");
  if (version == 0 || version > kMostVersion || size < 2 || size > kLongest || reader.remaining() < size) return false;
  const std::string name = reader.string(size, "the name");
  return name.back() == '\0' && std::all_of(name.begin(), name.end() - 1, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
         });
}

ModelFile read_ctranslate2(const Bytes& bytes) {
  ByteReader file(bytes);
  VariableReader reader(read_variables(file), bytes.name());
  ModelFile model;
  model.path = bytes.name();
  model.kind = FileKind::kCTranslate2;
  model.architecture = architecture_of(reader, bytes.name());
  arch::Weights& weights = model.weights;
  weights.add(reader.whole("enc.token_embd.weight", "encoder/embeddings/weight"));
  weights.add(reader.whole("token_embd.weight", "decoder/embeddings/weight"));
  add_stack(reader, model.architecture, false, weights);
  add_stack(reader, model.architecture, true, weights);
  add_linears(reader, "decoder/projection", {"output"}, model.architecture.vocab_size, weights);
  for (const std::string& name : reader.unused())
    log_warning("{}: variable \"{}\" is not part of the architecture and is ignored", bytes.name(), name);
  return model;
}

}  // namespace lathe::formats
