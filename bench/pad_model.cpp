// Makes a model as large as one likes without changing what it computes: layers behind its own whose branches add
// nothing to the residual stream (random weights, but zeros in the last product of each branch), and feed-forward
// neurons whose outputs meet zeros. A pass reads all of it, so a small trained model behaves like a large one in time
// and like itself in text: a target for speculative decoding whose drafts are worth what drafts of a real model are.
//
//   pad_model MODEL OUT LAYERS FFN_WIDTH    OUT has so many layers in all, and feed-forward layers so wide
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "arch/weights.h"
#include "base/error.h"
#include "formats/model_file.h"
#include "formats/random.h"
#include "tensor/codec.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// Where what a layer computes would be added to the residual stream.
bool joins_the_stream(std::string_view name) {
  return name.find(".attn_output.") != std::string_view::npos || name.find(".ffn_down.") != std::string_view::npos;
}

class Padder {
 public:
  explicit Padder(const formats::ModelFile& model) : model_(model) {}

  arch::Weights padded(const arch::Architecture& architecture) {
    arch::Weights weights;
    for (const arch::WeightSpec& spec : arch::weight_schema(architecture)) {
      const PackedTensor* own = model_.weights.find(spec.name);
      if (own == nullptr) {
        weights.add(added(spec));
      } else if (own->shape == spec.shape) {
        weights.add(*own);
      } else {
        weights.add(joins_the_stream(spec.name) ? with_columns(*own, spec.shape) : with_rows(*own, spec.shape));
      }
    }
    return weights;
  }

 private:
  // A tensor of an added layer, under the codec that its like has in the first one.
  PackedTensor added(const arch::WeightSpec& spec) {
    const std::string suffix = spec.name.substr(spec.name.find('.', std::strlen("blk.")));
    const Codec& codec = *model_.weights.at("blk.0" + suffix).codec;
    std::vector<float> values(spec.shape.elements());
    if (spec.shape.rank() < 2) {
      std::fill(values.begin(), values.end(), spec.name.ends_with(".bias") ? 0.0f : 1.0f);
    } else if (!joins_the_stream(spec.name)) {
      randomize(values, spec.shape.cols());
    }
    return pack(spec.name, codec, spec.shape, values);
  }

  // Random rows below the tensor's own, or elements behind it.
  PackedTensor with_rows(const PackedTensor& own, const Shape& shape) {
    const std::uint64_t rows = shape[0] - own.shape[0];
    const Shape missing = shape.rank() < 2 ? Shape{rows} : Shape{rows, shape.cols()};
    std::vector<float> values(missing.elements());
    randomize(values, shape.cols());
    const PackedTensor more = pack(own.name, *own.codec, missing, values, own.params);
    std::vector<std::byte> bytes;
    append(bytes, own.parts[0].data.span());
    append(bytes, more.parts[0].data.span());
    return packed_blocks(own.name, *own.codec, shape, Bytes::copy_of(bytes, own.name));
  }

  // Columns of zeros behind the tensor's own.
  static PackedTensor with_columns(const PackedTensor& own, const Shape& shape) {
    const std::vector<float> zeros(shape.cols() - own.shape.cols());
    const PackedTensor more = pack(own.name, *own.codec, Shape{1, zeros.size()}, zeros, own.params);
    const std::size_t row_bytes = own.bytes() / own.shape.rows();
    std::vector<std::byte> bytes;
    for (std::uint64_t r = 0; r < shape.rows(); ++r) {
      append(bytes, own.parts[0].data.span().subspan(r * row_bytes, row_bytes));
      append(bytes, more.parts[0].data.span());
    }
    return packed_blocks(own.name, *own.codec, shape, Bytes::copy_of(bytes, own.name));
  }

  static void append(std::vector<std::byte>& bytes, std::span<const std::byte> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
  }

  void randomize(std::vector<float>& values, std::uint64_t inputs) {
    const float deviation = 1 / std::sqrt(static_cast<float>(inputs));
    for (float& value : values) value = deviation * random_.normal();
  }

  const formats::ModelFile& model_;
  formats::Random random_{1};
};

// What is said above holds of layers whose branches are computed from the stream and end in one product each.
void check(const arch::Architecture& a, const arch::Weights& weights, const std::string& path) {
  if (a.moe.n_experts > 0 || a.encoder.n_layers > 0 || a.stream_norms || a.fused_gate_up || !a.full_layers.empty()) {
    throw Error("has layers of a kind that cannot be padded", path,
                "choose a dense decoder with norms before branches");
  }
  for (const auto& [name, tensor] : weights.all()) {
    if (block_format(*tensor.codec) == nullptr || !tensor.codec->can_encode())
      fail(path, "{} is {}, which cannot be padded", name, tensor.codec->name());
  }
}

std::uint32_t at_least(const char* text, std::uint32_t least, const char* what) {
  std::uint32_t value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value < least)
    fail(what, "\"{}\" is not a number from {} on", text, least);
  return value;
}

void pad(const char* from, const char* to, const char* layers, const char* ffn_width) {
  formats::ModelFile model = formats::load_model(from);
  check(model.architecture, model.weights, model.path);
  const std::uint64_t before = model.weights.bytes();
  arch::Architecture& a = model.architecture;
  a.n_layers = at_least(layers, a.n_layers, "LAYERS");
  a.ffn_width = at_least(ffn_width, a.ffn_width, "FFN_WIDTH");
  arch::validate(a, "the padded model");
  model.weights = Padder(model).padded(a);
  const formats::SaveResult saved = formats::save_model(model, to);
  fmt::print("{}: {} layers, feed-forward {}, {:.0f} MB, {:.1f} times the weights\n", to, a.n_layers, a.ffn_width,
             static_cast<double>(saved.bytes) / 1e6,
             static_cast<double>(model.weights.bytes()) / static_cast<double>(before));
}

}  // namespace
}  // namespace lathe

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: pad_model MODEL OUT LAYERS FFN_WIDTH\n");
    return 2;
  }
  try {
    lathe::pad(argv[1], argv[2], argv[3], argv[4]);
  } catch (const lathe::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
