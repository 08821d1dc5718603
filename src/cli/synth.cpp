// lathe synth: a model file of a given shape with random weights, for benchmarks.
#include <string>

#include "arch/codec_mix.h"
#include "base/json.h"
#include "base/log.h"
#include "base/nearest.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "formats/synth.h"

namespace lathe::cli {
namespace {

constexpr std::uint32_t kFfnMultiple = 32;  // so that block codecs fit a feed-forward width that was not given

struct ShapeArgs {
  std::optional<std::uint32_t> layers, width, heads, kv_heads, ffn, vocab, context;
};

// A preset, or the smallest preset of a family.
arch::Architecture named_shape(const std::string& name) {
  std::vector<std::string_view> names;
  for (const formats::SynthPreset& preset : formats::synth_presets()) {
    if (preset.name == name) return preset.architecture;
    names.push_back(preset.name);
  }
  for (const formats::SynthPreset& preset : formats::synth_presets()) {
    if (preset.architecture.family == name) return preset.architecture;
  }
  throw UsageError(fmt::format("unknown shape '{}'", name), "lathe synth",
                   fmt::format("the nearest is '{}'; lathe synth -h lists all", nearest_names(name, names, 1).front()));
}

// What follows from a changed width or number of heads is adapted unless it was given too.
void reshape(arch::Architecture& shape, const ShapeArgs& args) {
  const arch::Architecture base = shape;
  shape.n_layers = args.layers.value_or(base.n_layers);
  shape.vocab_size = args.vocab.value_or(base.vocab_size);
  shape.context_length = args.context.value_or(base.context_length);
  shape.width = args.width.value_or(base.width);
  shape.n_heads = args.heads.value_or(base.n_heads);
  if (shape.width == 0 || shape.n_heads == 0) throw UsageError("--width and --heads must be 1 or more");
  if (args.heads)
    shape.n_kv_heads =
        base.n_kv_heads == base.n_heads || *args.heads % base.n_kv_heads != 0 ? *args.heads : base.n_kv_heads;
  shape.n_kv_heads = args.kv_heads.value_or(shape.n_kv_heads);
  if (args.width) {
    const std::uint64_t scaled = std::uint64_t{base.ffn_width} * *args.width / base.width;
    shape.ffn_width =
        narrow<std::uint32_t>((scaled + kFfnMultiple - 1) / kFfnMultiple * kFfnMultiple, "the feed-forward width");
  }
  shape.ffn_width = args.ffn.value_or(shape.ffn_width);
  if (args.width || args.heads) {
    if (shape.width % shape.n_heads != 0) {
      throw UsageError(fmt::format("--width {} does not divide into {} heads", shape.width, shape.n_heads));
    }
    shape.head_dim = shape.v_head_dim = shape.width / shape.n_heads;
    if (shape.position == arch::PositionKind::kRope) shape.rotary_dim = shape.head_dim;
  }
}

std::string shapes_help() {
  std::string text = "a family (llama, gpt2, mixtral, ...) or one of ";
  for (const formats::SynthPreset& preset : formats::synth_presets()) {
    if (text.back() != ' ') text += ", ";
    text += fmt::format("{} ({})", preset.name, preset.description);
  }
  return text;
}

}  // namespace

int synth_verb(Arguments arguments) {
  OutputArgs output;
  ShapeArgs shape_args;
  std::string name, path;
  formats::SynthOptions synth;
  Options options(
      "synth", "ARCH OUT [options]",
      "Writes a model of a given shape with seeded random weights and a made-up vocabulary, for benchmarks. "
      "The same seed gives the same file.");
  options.positional("ARCH", name, shapes_help(), true);
  options.positional("OUT", path, "the file to write: .gguf, .safetensors, .lathe, or a folder", true);
  const std::string otherwise = "ARCH's";
  options.value("--layers", shape_args.layers, "N", "layers", otherwise);
  options.value("--width", shape_args.width, "N", "width of the residual stream", otherwise);
  options.value("--heads", shape_args.heads, "N", "attention heads", otherwise);
  options.value("--kv-heads", shape_args.kv_heads, "N", "heads of keys and values", otherwise);
  options.value("--ffn", shape_args.ffn, "N", "width of the feed-forward layers", otherwise);
  options.value("--vocab", shape_args.vocab, "N", "vocabulary size", otherwise);
  options.value("-c,--ctx", shape_args.context, "TOKENS", "context length the file states", otherwise);
  options.value("--codec", synth.codec, "CODEC",
                "how matrices are stored: a codec (F32, F16, Q8_0, Q4_0, ...) or a mix (Q4_K_M, ...)");
  options.value("--seed", synth.seed, "N", "of the random weights");
  options.size("--split-size", synth.split_bytes, "start another file beyond this size (500M, 2G); 0: one file");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  check_output_kind(path);
  synth.codec = arch::codec_or_mix_named(synth.codec);
  arch::Architecture shape = named_shape(name);
  reshape(shape, shape_args);
  const formats::SynthResult result = formats::synthesize(shape, path, synth);
  if (output.json) {
    print_json({{"parameters", result.parameters}, {"bytes", result.bytes}, {"path", path}});
  } else {
    log_info("{}: {} parameters, {}", path, readable_count(result.parameters), readable_bytes(result.bytes));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
