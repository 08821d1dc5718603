// Common options, and the way from a model's name to a session.
#include "cli/common.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <utility>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/write_all.h"
#include "cli/model_folder.h"
#include "cli/tiny_model.h"
#include "formats/fingerprint.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModelHelp =
    "a .gguf, .safetensors, .lathe or llama2.c .bin file, a Hugging Face folder, or a name: tiny, or one of lathe list";
constexpr std::uint32_t kMostThreads = 1024;
constexpr std::size_t kMostNeighbours = 1000;  // files of a folder that a suggestion looks at

std::vector<std::string> folder_names() {
  std::vector<std::string> names;
  try {
    for (const FolderModel& model : folder_models()) names.push_back(model.name);
  } catch (const Error&) {  // there is no model folder
  }
  return names;
}

// What the user may have meant by a path that does not exist: a sibling, a model of the folder, or the embedded one.
std::string suggestion(const fs::path& path) {
  std::vector<std::string> known = folder_names();
  if (!path.has_parent_path()) known.emplace_back(kTinyModel);
  std::error_code ignored;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::size_t neighbours = 0;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (++neighbours > kMostNeighbours) break;
    known.push_back((path.parent_path() / entry.path().filename()).string());
  }
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::vector<std::string> nearest = nearest_names(path.string(), names, 1);
  const std::size_t near = std::max<std::size_t>(2, path.filename().string().size() / 3);
  if (nearest.empty() || edit_distance(path.string(), nearest[0]) > near)
    return "give a model file, a Hugging Face folder, a name that lathe list shows, or tiny";
  return fmt::format("did you mean '{}'?", nearest[0]);
}

std::string scaled(double value, std::span<const std::string_view> units) {
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) value /= 1000, ++unit;
  return fmt::format("{:.{}f}{}", value, unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, units[unit]);
}

}  // namespace

void add_output_options(Options& options, OutputArgs& args) {
  options.flag("--json", args.json, "print exactly one JSON object on standard output");
  options.flag("--quiet", args.quiet, "no messages but errors");
  options.flag("--verbose", args.verbose, "more messages");
}

void apply(const OutputArgs& args) {
  set_log_level(args.quiet ? LogLevel::kError : args.verbose ? LogLevel::kDebug : LogLevel::kInfo);
}

void add_model_options(Options& options, ModelArgs& args, bool required) {
  args.required = required;
  options.positional("MODEL", args.model, fmt::format("{}{}", kModelHelp, required ? "" : " (default: tiny)"), false);
  options.value("-m,--model", args.model_option, "MODEL", "the same as the positional MODEL");
  options.value("--tokenizer", args.tokenizer, "FILE", "use this tokenizer instead of the model's own");
}

void add_device_options(Options& options, DeviceArgs& args, std::string_view context_help) {
  options.value("-t,--threads", args.threads, "N", "threads; 0: every core this process may use");
  options.value("-c,--ctx", args.context, "TOKENS", std::string(context_help));
  options.value("--device", args.device, "DEVICE", "cpu, cuda or cuda:N");
  options.value("--kernel", args.kernel, "NAME",
                "auto, scalar, or an instruction set this machine has (avx2, avx3, ...); +dot, +lut or +lut-fast "
                "behind it chooses how "
                "integer groups are multiplied");
  options.choice("--kv-codec", args.kv_codec, {"f16", "int8", "f32"}, "how cached keys and values are stored");
  options.value(
      "--kv-policy", args.kv_policy, "POLICY",
      "which cached tokens are attended to: full; sinks[:FIRST+LAST] (the first few and the last); infllm[:FIRST+LAST"
      "[,blocks=N]...] (those, and blocks of the rest that fit the question; docs/long-context.md)");
  options.value("--kv-disk", args.kv_disk, "DIR",
                "keep cached keys and values in files there, for contexts that memory cannot hold");
}

std::string model_name(const ModelArgs& args) {
  if (args.model_option && !args.model.empty() && *args.model_option != args.model) {
    throw UsageError(fmt::format("two models given: '{}' and '{}'", args.model, *args.model_option));
  }
  const std::string& name = args.model_option ? *args.model_option : args.model;
  if (!name.empty()) return name;
  if (!args.required) return std::string(kTinyModel);
  throw UsageError("MODEL is missing", {},
                   "give a model file, a Hugging Face folder, or tiny, the model inside this program");
}

fs::path find_model(const ModelArgs& args) {
  const std::string name = model_name(args);
  std::error_code ignored;
  if (name == kTinyModel || fs::exists(name, ignored)) return name;
  if (const auto known = find_folder_model(name)) return *known;
  throw Error("no such file or model", name, suggestion(name));
}

formats::ModelFile load_model(const ModelArgs& args, bool weights) {
  formats::LoadOptions options;
  options.weights = weights;
  options.check_weights = weights;
  if (args.tokenizer) options.tokenizer = *args.tokenizer;
  const fs::path path = find_model(args);
  if (path != kTinyModel) return formats::load_model(path, options);
  formats::ModelFile file = formats::load_model(tiny_model(), options);
  file.path = kTinyModel;
  return file;
}

std::string_view main_codec(const arch::Weights& weights) {
  std::map<std::string_view, std::uint64_t> bytes;
  for (const auto& [name, tensor] : weights.all()) bytes[tensor.codec->name()] += tensor.bytes();
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "no weights" : most->first;
}

const text::Tokenizer& OpenModel::tokenizer() const {
  if (file.tokenizer == nullptr)
    throw Error("the model holds no tokenizer", file.path, "name one with --tokenizer FILE");
  return *file.tokenizer;
}

engine::RuntimeOptions runtime_options(const DeviceArgs& device) {
  if (device.threads > kMostThreads)
    throw UsageError(fmt::format("--threads is {}, at most {}", device.threads, kMostThreads));
  engine::RuntimeOptions options;
  options.device = device.device;
  options.cpu.threads = static_cast<int>(device.threads);
  options.cpu.kernel = device.kernel;
  return options;
}

OpenModel open_model(const ModelArgs& model, const DeviceArgs& device, const OutputArgs& output,
                     const std::function<void(const arch::Architecture&, engine::SessionOptions&)>& tweak,
                     const DraftArgs& draft) {
  OpenModel open;
  open.file = load_model(model);
  open.runtime = std::make_unique<engine::Runtime>(runtime_options(device));
  open.file_bytes = open.file.weights.bytes();
  open.fingerprint = formats::fingerprint(open.file);
  if (!output.quiet) {
    const arch::Architecture& shape = open.file.architecture;
    log_info("{}: {}, {} layers, {} parameters, {}, {}; {}, {}", open.file.path, shape.family, shape.n_layers,
             readable_count(open.file.weights.parameters()), main_codec(open.file.weights),
             readable_bytes(open.file_bytes), open.runtime->backend().name(), open.runtime->backend().description());
  }
  engine::SessionOptions session_options;
  session_options.context = device.context;
  session_options.kv_codec = kv_codec_from(device.kv_codec);
  session_options.kv_policy = device.kv_policy;
  session_options.kv_folder = device.kv_disk.value_or("");
  if (tweak) tweak(open.file.architecture, session_options);
  session_options.draft = open_draft(draft, *open.runtime);

  open.model = open.runtime->load(open.file);
  open.file.weights = {};  // the device holds, or maps, what it needs of them
  open.session = open.runtime->open(open.model, open.file.tokenizer, session_options);
  open.session->set_cancel_token(&interrupt_token());
  return open;
}

kernels::KvCodec kv_codec_from(const std::string& name) {
  for (const auto codec : {kernels::KvCodec::kF32, kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
    if (kernels::kv_codec_name(codec) == name) return codec;
  }
  throw UsageError(fmt::format("unknown KV codec '{}'", name));
}

void print_text(std::string_view text) {
  if (!write_all(STDOUT_FILENO, text)) throw Error("cannot write", "standard output");
}

void print_json(const Json& object) { print_text(object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"); }

std::string prompt_from(const std::optional<std::string>& text, const std::optional<std::string>& file,
                        std::optional<std::string_view> otherwise) {
  if (text && file) throw UsageError("both a text (-p) and a file (-f) are given");
  if (text) return *text;
  if (file) return read_file(*file);
  if (!otherwise) throw UsageError("no text given", {}, "use -p TEXT, or -f FILE (- reads standard input)");
  return std::string(*otherwise);
}

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\'' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string readable_bytes(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kUnits = {" B", " kB", " MB", " GB", " TB"};
  return scaled(static_cast<double>(bytes), kUnits);
}

std::string readable_count(std::uint64_t count) {
  static constexpr std::array<std::string_view, 5> kUnits = {"", " k", " M", " B", " T"};
  return scaled(static_cast<double>(count), kUnits);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

std::size_t decoded_tokens(const api::GenerateResult& result) {
  const std::size_t all = result.tokens.size() + (result.stop_reason == api::StopReason::kEos ? 1 : 0);
  return all > 0 ? all - 1 : 0;
}

double decode_rate(const api::GenerateResult& result) {
  return per_second(static_cast<double>(decoded_tokens(result)), result.decode_seconds);
}

void check_output_kind(const std::string& path) {
  static constexpr std::array<std::string_view, 3> kKinds = {".gguf", ".safetensors", ".lathe"};
  const std::string extension = fs::path(path).extension().string();
  std::error_code ignored;
  if (extension.empty() || path.ends_with('/') || fs::is_directory(path, ignored)) return;  // a Hugging Face folder
  if (std::find(kKinds.begin(), kKinds.end(), extension) != kKinds.end()) return;
  throw UsageError(fmt::format("unknown kind of file '{}'", extension), path,
                   fmt::format("the nearest is '{}'; .gguf, .safetensors, .lathe and folders can be written",
                               nearest_names(extension, kKinds, 1).front()));
}

}  // namespace lathe::cli
