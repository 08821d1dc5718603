// lathe quantize: a model compressed by one of the post-training methods (quant/methods.cpp) into one of the codecs.
#include <algorithm>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/calibration_text.h"
#include "cli/codec_args.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "quant/quantize_model.h"

namespace lathe::cli {
namespace {

using quant::Target;

constexpr std::string_view kDefaultMethod = "gptq", kDefaultOtherwise = "rtn";

// The method when none is named: one that can choose weights for the codec.
const quant::Method& usual_method(const Codec* codec) {
  const quant::Method& method = quant::method_named(kDefaultMethod);
  const bool able = codec == nullptr || method.can_target({codec, codec->usual_params()});
  return able ? method : quant::method_named(kDefaultOtherwise);
}

// A codec_target, "same" as the body, "keep" what the file has.
std::optional<Target> target_from(const std::string& text, const Target& body, std::string_view option) {
  if (text == "keep") return std::nullopt;
  if (text == "same") return body;
  return codec_target(text, option);
}

// Options that are not as usual and that the method does not look at.
void check_method_options(const quant::Method& method, const quant::MethodOptions& o) {
  const quant::MethodOptions usual;
  const std::pair<std::string_view, bool> given[] = {
      {"--damping", o.damping != usual.damping},
      {"--act-order", o.act_order != usual.act_order},
      {"--alpha", o.alpha != usual.alpha},
      {"--outlier-threshold", o.outlier_threshold != usual.outlier_threshold},
      {"--smooth-percentile", o.smooth_percentile != usual.smooth_percentile},
      {"--even-widths", o.even_widths != usual.even_widths},
      {"--plain-scales", o.plain_scales != usual.plain_scales},
      {"--salience-weight", o.salience_weight != usual.salience_weight},
      {"--shadow-share", o.shadow_share != usual.shadow_share},
      {"--shadow-threshold", o.shadow_threshold != usual.shadow_threshold},
      {"--shadow-prune", o.shadow_prune != usual.shadow_prune}};
  const auto uses = [](const quant::Method& other, std::string_view option) {
    const std::vector<std::string_view> options = other.options();
    return std::find(options.begin(), options.end(), option) != options.end();
  };
  for (const auto& [option, is_given] : given) {
    if (!is_given || uses(method, option)) continue;
    std::string users;
    for (const quant::Method* other : quant::all_methods()) {
      if (uses(*other, option)) users += (users.empty() ? "" : ", ") + std::string(other->name());
    }
    throw UsageError(fmt::format("{} means nothing to --method {}", option, method.name()), {}, "it is for " + users);
  }
}

bool goes_together(const quant::Method& method, const Codec& codec) {
  return codec.can_encode() && method.can_target({&codec, codec.usual_params()});
}

void print_list(bool json) {
  Json methods = Json::array(), codecs = Json::array(), mixes = Json::array();
  std::string text = "methods\n";
  for (const quant::Method* method : quant::all_methods()) {
    Json targets = Json::array();
    for (const Codec* codec : all_codecs()) {
      if (goes_together(*method, *codec)) targets.push_back(codec->name());
    }
    text += fmt::format(
        "  {:<14}{}{}{}\n{:<16}codecs: {}\n", method->name(), method->description(),
        method->paper().empty() ? "" : "; ", method->paper(), "",
        targets.size() > 8 ? std::string("every one below") : [&] {
          std::string names;
          for (const auto& name : targets) names += (names.empty() ? "" : ", ") + name.get<std::string>();
          return names;
        }());
    methods.push_back({{"name", method->name()},
                       {"description", method->description()},
                       {"paper", method->paper()},
                       {"calibration", method->needs() != quant::Needs::kNothing},
                       {"codecs", std::move(targets)}});
  }
  text += "codecs\n";
  for (const Codec* codec : all_codecs()) {
    if (!codec->can_encode()) continue;
    const BlockFormat* format = block_format(*codec);
    const bool any_width = format == nullptr && codec->usual_params().bits != 0;
    const double bits = format == nullptr ? 0 : 8.0 * format->block_bytes / format->block_size;
    text += fmt::format("  {:<14}{}{}\n", codec->name(), codec->description(),
                        any_width           ? " (--bits, --group)"
                        : format == nullptr ? ""
                                            : fmt::format(", {:.4g} bits per weight", bits));
    Json entry = {{"name", codec->name()},
                  {"description", codec->description()},
                  {"gguf", format != nullptr && format->ggml_type >= 0}};
    if (format != nullptr) entry["bits_per_weight"] = bits;
    codecs.push_back(std::move(entry));
  }
  text += "mixes of codecs, by tensor (with methods for every codec)\n";
  for (const arch::CodecMix& mix : arch::codec_mixes()) {
    text += fmt::format("  {:<14}{}\n", mix.name, mix.description);
    mixes.push_back({{"name", mix.name}, {"description", mix.description}, {"file_type", mix.file_type}});
  }
  if (json) {
    print_json({{"methods", std::move(methods)}, {"codecs", std::move(codecs)}, {"mixes", std::move(mixes)}});
  } else {
    print_text(text);
  }
}

// Before any work is done: can the kind of file that OUT names hold the codec?
void check_holds(const std::string& out, const Target& target) {
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(out, ignored);
  const std::string extension = is_folder ? "" : std::filesystem::path(out).extension().string();
  if (extension == ".lathe") return;
  const BlockFormat* format = block_format(*target.codec);
  const bool gguf = format != nullptr && format->ggml_type >= 0;
  const bool plain = gguf && format->block_size == 1;
  if (extension == ".gguf" ? gguf : plain) return;
  throw UsageError(fmt::format("{} cannot hold {} tensors",
                               is_folder           ? "a folder that exists, as a Hugging Face model,"
                               : extension.empty() ? "a Hugging Face folder"
                                                   : extension + " files",
                               target.codec->name()),
                   out, "name a file that ends in .lathe");
}

Json report_json(const quant::QuantizeReport& report, const std::string& out) {
  Json tensors = Json::array();
  for (const quant::TensorReport& t : report.tensors) {
    Json tensor = {{"name", t.name},
                   {"codec", t.codec},
                   {"bits_per_weight", t.bits_per_weight},
                   {"bytes", t.bytes},
                   {"relative_error", t.relative_error}};
    if (!t.remark.empty()) tensor["remark"] = t.remark;
    tensors.push_back(std::move(tensor));
  }
  return {{"bits_per_weight", report.bits_per_weight()},
          {"bytes", report.bytes},
          {"seconds", report.seconds},
          {"capture_seconds", report.capture_seconds},
          {"gram_seconds", report.gram_seconds},
          {"method_seconds", report.method_seconds},
          {"advance_seconds", report.advance_seconds},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"experts", report.experts},
          {"scarce_experts", report.scarce_experts},
          {"per_tensor", std::move(tensors)},
          {"path", out}};
}

}  // namespace

int quantize_verb(Arguments arguments) {
  ModelArgs model;
  OutputArgs output;
  std::string in, out;
  std::optional<std::string> method, codec, embedding, head, calibration;
  std::optional<int> bits, group;
  int activation_bits = 0;
  bool list = false;
  std::uint32_t threads = 0;
  quant::QuantizeOptions work;
  Options options("quantize", "IN OUT [options]",
                  "Compresses a model: a method chooses the values, a codec says how they are stored. An interrupted "
                  "run goes on at the last finished layer when it is started again.");
  options.positional("IN", in, "the model to read", false);
  options.positional("OUT", out, "the file to write; .lathe holds every codec", false);
  options.value("--method", method, "NAME", "what chooses the values: see --list",
                "gptq, or rtn where gptq does not know the codec");
  options.value("--codec", codec, "CODEC", "how they are stored: a codec, or a mix such as Q4_K_M: see --list",
                "the method's own, or INT_SYM");
  options.value("--bits", bits, "N", "bits of a weight, for codecs of several widths", "4, or the codec's own");
  options.value("--group", group, "N", "weights that share a scale, likewise; 0: a whole row",
                "128, or the codec's own");
  options.value("--activation-bits", activation_bits, "N",
                "bits of the inputs that weights are multiplied with; 0: as the kernels like");
  options.value("--embedding", embedding, "CODEC",
                "of the token embedding: CODEC[:BITS:GROUP[:ACTIVATION BITS]], same, or keep", "Q8_0, or the mix's");
  options.value("--head", head, "CODEC", "of the output head, likewise", "Q8_0, or the mix's");
  options.value("--calibration", calibration, "FILE", "text to calibrate on; - reads standard input",
                "a built-in text");
  options.value("--calibration-sequences", work.calibration.sequences, "N", "sequences taken from it");
  options.value("--calibration-tokens", work.calibration.tokens, "N", "tokens of a sequence");
  options.value("--damping", work.method_options.damping, "X", "share of the mean added to the Hessian's diagonal",
                "gptq, slim-llm, db-llm: 0.01, spqr: 1");
  options.flag("--act-order", work.method_options.act_order,
               "gptq, spqr: columns with the largest inputs first (spqr: unless --codec SPQR, always)");
  options.value("--alpha", work.method_options.alpha, "X", "smoothquant+: the strength, 0 to 1; below 0: searched");
  options.value("--outlier-threshold", work.method_options.outlier_threshold, "X",
                "spqr: what makes a weight an outlier; the lower, the more there are; 0: none");
  options.value("--smooth-percentile", work.method_options.smooth_percentile, "X",
                "dgq: input columns whose largest value is beyond this percentile are scaled down to it; 100: none");
  options.flag("--even-widths", work.method_options.even_widths, "slim-llm: the same width for every block of columns");
  options.flag("--plain-scales", work.method_options.plain_scales, "slim-llm: scales are chosen as gptq chooses them");
  options.value("--salience-weight", work.method_options.salience_weight, "X",
                "slim-llm: how much more errors of the most salient weights count when scales are chosen");
  options.value("--shadow-share", work.method_options.shadow_share, "X",
                "shadow: the share of an input's values, the largest, that its 8-bit range leaves out as outliers");
  options.value("--shadow-threshold", work.method_options.shadow_threshold, "X",
                "shadow: outliers are kept where the largest is beyond so many times the range");
  options.value("--shadow-prune", work.method_options.shadow_prune, "X",
                "shadow: the share of inputs, those whose outliers matter least, that lose them; 1: all");
  options.flag("--list", list, "show the methods and codecs there are, and which go together");
  options.value("--tokenizer", model.tokenizer, "FILE", "use this tokenizer instead of the model's own");
  options.value("-t,--threads", threads, "N", "threads; 0: every core this process may use");
  options.value("--kernel", work.kernel, "NAME", "instruction set to calibrate with: auto, scalar, avx2, ...");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (list) {
    print_list(output.json);
    return kExitSuccess;
  }
  if (in.empty() || out.empty()) throw UsageError("quantize needs IN and OUT", {}, "or --list");
  if (work.calibration.tokens < 2 || work.calibration.sequences < 1) {
    throw UsageError("calibration needs at least one sequence of two tokens");
  }
  if (!(work.method_options.damping.value_or(0) >= 0) || work.method_options.alpha > 1 ||
      !(work.method_options.outlier_threshold >= 0) || !(work.method_options.salience_weight >= 1)) {
    throw UsageError(
        "--damping must be 0 or more, --alpha at most 1, --outlier-threshold 0 or more, --salience-weight 1 or more");
  }
  if (!(work.method_options.smooth_percentile > 0 && work.method_options.smooth_percentile <= 100)) {
    throw UsageError("--smooth-percentile must be above 0 and at most 100");
  }
  if (!(work.method_options.shadow_share >= 0 && work.method_options.shadow_share < 1) ||
      !(work.method_options.shadow_prune >= 0 && work.method_options.shadow_prune <= 1) ||
      !(work.method_options.shadow_threshold >= 1)) {
    throw UsageError(
        "--shadow-share must be 0 or more and below 1, --shadow-prune 0 to 1, --shadow-threshold 1 or more");
  }
  check_output_kind(out);
  if (codec) {
    work.mix = arch::find_codec_mix(*codec);
    work.target.codec = &codec_named(work.mix != nullptr ? work.mix->body : *codec);
  }
  work.method = method ? &quant::method_named(*method) : &usual_method(work.target.codec);
  if (!codec) work.target.codec = &codec_named(work.method->usual_codec());
  CodecParams usual;
  if (block_format(*work.target.codec) == nullptr) usual = work.target.codec->usual_params();
  work.target.params = {bits.value_or(usual.bits), group.value_or(usual.group_size)};
  work.target.params.activation_bits = activation_bits;
  check_target(work.target, activation_bits != 0 ? "--activation-bits" : "--codec");
  check_method_options(*work.method, work.method_options);
  quant::check_pair(*work.method, work.target);
  work.embedding = target_from(embedding.value_or("Q8_0"), work.target, "--embedding");
  work.head = target_from(head.value_or("Q8_0"), work.target, "--head");
  for (const auto& target : {std::optional(work.target), work.embedding, work.head}) {
    if (target) check_holds(out, *target);
  }
  if (work.method->needs() != quant::Needs::kNothing) {
    work.calibration_source = calibration.value_or("the built-in calibration text");
    work.calibration_text = calibration ? read_file(*calibration) : std::string(calibration_text());
  }
  work.threads = static_cast<int>(threads);
  work.progress = !output.quiet;

  model.model = in;
  const formats::ModelFile loaded = load_model(model);
  if (work.mix != nullptr) {
    const auto by_mix = [&](std::string_view tensor) {
      return Target{&arch::codec_in_mix(*work.mix, loaded.architecture, tensor, loaded.architecture.width), {}};
    };
    if (!embedding) work.embedding = by_mix("token_embd.weight");
    if (!head) work.head = by_mix("output.weight");
  }
  const quant::QuantizeReport report = quant::quantize_model(loaded, out, work);
  if (output.json) {
    print_json(report_json(report, out));
  } else {
    log_info("{}: {} with {}, {}, {:.3f} bits per weight, {:.1f} s", out,
             work.mix != nullptr ? std::string(work.mix->name) : work.target.text(), work.method->name(),
             readable_bytes(report.bytes), report.bits_per_weight(), report.seconds);
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
