// lathe info: what a model file holds, without running it.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arch/lower.h"
#include "base/error.h"
#include "base/json.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

Json shape_json(const Shape& shape) {
  Json extents = Json::array();
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

// PackedTensor::bytes() of a tensor table without data counts nothing; this counts what the codec lays down.
std::uint64_t stored_bytes(const PackedTensor& tensor) {
  std::uint64_t bytes = 0;
  for (const PartSpec& part : tensor.codec->parts(tensor.shape, tensor.params)) {
    bytes += part.shape.elements() * dtype_bytes(part.dtype);
  }
  return bytes;
}

struct Sizes {
  std::uint64_t parameters = 0, bytes = 0;
  std::map<std::string_view, std::uint64_t> codecs;  // bytes of each
  double bits_per_weight() const {
    return parameters == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
  }
};

// What the codecs say of their tensors beside sizes, of those that say something.
std::vector<std::pair<std::string, std::string>> remarks_of(const arch::Weights& weights) {
  std::vector<std::pair<std::string, std::string>> remarks;
  for (const auto& [name, tensor] : weights.all()) {
    std::string remark = tensor.codec->remark(tensor);
    if (!remark.empty()) remarks.emplace_back(name, std::move(remark));
  }
  return remarks;
}

Sizes sizes_of(const arch::Weights& weights) {
  Sizes sizes;
  for (const auto& [name, tensor] : weights.all()) {
    const std::uint64_t bytes = stored_bytes(tensor);
    sizes.parameters += tensor.shape.elements();
    sizes.bytes += bytes;
    sizes.codecs[tensor.codec->name()] += bytes;
  }
  return sizes;
}

Json model_json(const formats::ModelFile& file, const Sizes& sizes) {
  const arch::Architecture& shape = file.architecture;
  Json tensors = Json::array();
  for (const auto& [name, tensor] : file.weights.all()) {
    tensors.push_back({{"name", name},
                       {"shape", shape_json(tensor.shape)},
                       {"codec", tensor.codec->name()},
                       {"bytes", stored_bytes(tensor)}});
  }
  Json object = {{"architecture", shape.family},
                 {"name", shape.name},
                 {"kind", formats::file_kind_name(file.kind)},
                 {"parameters", sizes.parameters},
                 {"bytes", sizes.bytes},
                 {"bits_per_weight", sizes.bits_per_weight()},
                 {"layers", shape.n_layers},
                 {"width", shape.width},
                 {"heads", shape.n_heads},
                 {"kv_heads", shape.n_kv_heads},
                 {"head_dim", shape.head_dim},
                 {"ffn_width", shape.ffn_width},
                 {"vocab_size", shape.vocab_size},
                 {"context_length", shape.context_length},
                 {"tied_embeddings", shape.tied_embeddings},
                 {"chat_template", !file.chat_template.empty()}};
  if (const arch::Encoder& encoder = shape.encoder; encoder.n_layers > 0) {
    object["encoder"] = {{"layers", encoder.n_layers},
                         {"vocab_size", encoder.vocab_size > 0 ? encoder.vocab_size : shape.vocab_size},
                         {"start_token", encoder.start_token}};
  }
  if (file.tokenizer != nullptr) {
    object["tokenizer"] = {{"family", file.tokenizer->family()}, {"size", file.tokenizer->size()}};
  } else {
    object["tokenizer"] = nullptr;
  }
  object["tensors"] = std::move(tensors);
  return object;
}

std::string model_table(const formats::ModelFile& file, const Sizes& sizes, bool tensors) {
  const arch::Architecture& shape = file.architecture;
  std::string text;
  const auto line = [&text](std::string_view name, const std::string& value) {
    text += fmt::format("{:<16}{}\n", name, value);
  };
  line("file", fmt::format("{} ({})", file.path, formats::file_kind_name(file.kind)));
  if (!shape.name.empty()) line("name", shape.name);
  line("architecture", shape.family);
  line("parameters", fmt::format("{} ({})", sizes.parameters, readable_count(sizes.parameters)));
  line("weights", fmt::format("{}, {:.2f} bits each", readable_bytes(sizes.bytes), sizes.bits_per_weight()));
  line("layers", fmt::format("{} of width {}, {} heads ({} for keys and values) of {}, feed-forward {}", shape.n_layers,
                             shape.width, shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.ffn_width));
  if (shape.encoder.n_layers > 0)
    line("encoder", fmt::format("{} layers of the same sizes; texts of the decoder begin with token {}",
                                shape.encoder.n_layers, shape.encoder.start_token));
  line("context", fmt::format("{} tokens", shape.context_length));
  line("tokenizer", file.tokenizer == nullptr
                        ? "none"
                        : fmt::format("{}, {} pieces", file.tokenizer->family(), file.tokenizer->size()));
  line("chat template", file.chat_template.empty() ? "none" : "yes");
  for (const auto& [codec, bytes] : sizes.codecs) line(fmt::format("  {}", codec), readable_bytes(bytes));
  if (!tensors) return text;
  text += fmt::format("\n{:<44} {:<20} {:<8} {:>12}\n", "tensor", "shape", "codec", "bytes");
  for (const auto& [name, tensor] : file.weights.all()) {
    text += fmt::format("{:<44} {:<20} {:<8} {:>12}\n", name, tensor.shape.text(), tensor.codec->name(),
                        stored_bytes(tensor));
  }
  return text;
}

}  // namespace

int info_verb(Arguments arguments) {
  ModelArgs model;
  OutputArgs output;
  bool ops = false, quantization = false;
  Options options("info", "MODEL [options]",
                  "Shows what a model file holds: architecture, tokenizer, and every tensor with its codec and size.");
  add_model_options(options, model, true);
  options.flag("--ops", ops, "list the operations of one forward pass instead");
  options.flag("--quantization", quantization,
               "list what codecs chose for their tensors instead: SLIM's widths of blocks, BITMOD's types of groups, "
               "FDB's ones in its planes");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  if (ops && quantization) throw UsageError("--ops and --quantization are two lists", {}, "ask for one of them");
  const formats::ModelFile file = load_model(model, quantization);
  if (quantization) {
    Json tensors = Json::array();
    std::string text;
    for (const auto& [name, remark] : remarks_of(file.weights)) {
      const std::string_view codec = file.weights.at(name).codec->name();
      tensors.push_back({{"name", name}, {"codec", codec}, {"remark", remark}});
      text += fmt::format("{:<44} {:<8} {}\n", name, codec, remark);
    }
    if (output.json) {
      print_json({{"tensors", std::move(tensors)}});
    } else {
      print_text(text.empty() ? "no tensor's codec chose anything\n" : text);
    }
    return kExitSuccess;
  }
  if (ops) {
    std::string list = arch::describe(arch::lower(file.architecture));
    if (file.architecture.encoder.n_layers > 0)
      list = "encoder\n" + arch::describe(arch::lower_encoder(file.architecture)) + "decoder\n" + list;
    if (output.json) {
      print_json({{"architecture", file.architecture.family}, {"ops", list}});
    } else {
      print_text(list);
    }
    return kExitSuccess;
  }
  const Sizes sizes = sizes_of(file.weights);
  if (output.json) {
    print_json(model_json(file, sizes));
  } else {
    print_text(model_table(file, sizes, !output.quiet));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
