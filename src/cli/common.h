// What the verbs share: the options that mean the same everywhere, finding and opening a model, and printing results.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "cli/draft_args.h"
#include "cli/options.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "formats/model_file.h"

namespace lathe::cli {

inline constexpr int kExitSuccess = 0, kExitFailure = 1, kExitUsage = 2, kExitInterrupted = 130;

// Name of the model that ships inside the program.
inline constexpr std::string_view kTinyModel = "tiny";

struct OutputArgs {
  bool json = false, quiet = false, verbose = false;
};

struct ModelArgs {
  std::string model;
  std::optional<std::string> model_option;  // -m
  bool required = false;                    // otherwise tiny, when none is given
  std::optional<std::string> tokenizer;
};

struct DeviceArgs {
  std::uint32_t threads = 0;  // 0: every usable core
  std::string device = "cpu";
  std::string kernel = "auto";
  std::string kv_codec = "f16";
  std::string kv_policy = "full";
  std::optional<std::string> kv_disk;  // folder
  std::uint32_t context = 0;
};

void add_output_options(Options& options, OutputArgs& args);
// Sets the level of messages; call after parsing.
void apply(const OutputArgs& args);

void add_model_options(Options& options, ModelArgs& args, bool required);
void add_device_options(Options& options, DeviceArgs& args, std::string_view context_help);

// Device, threads and kernel; throws UsageError for too many threads.
engine::RuntimeOptions runtime_options(const DeviceArgs& device);

// The model named by the arguments; throws UsageError when a required one is absent or two are given.
std::string model_name(const ModelArgs& args);
// Where that is: a path, or kTinyModel. Throws Error, with a suggestion, when it is no file, folder or name of a model.
std::filesystem::path find_model(const ModelArgs& args);
formats::ModelFile load_model(const ModelArgs& args, bool weights = true);

// The codec that most bytes are in.
std::string_view main_codec(const arch::Weights& weights);

// A model on a device. `file` keeps everything but the weights, which the device has taken.
struct OpenModel {
  formats::ModelFile file;
  std::uint64_t file_bytes = 0;   // of all tensors
  std::uint64_t fingerprint = 0;  // formats::fingerprint
  std::unique_ptr<engine::Runtime> runtime;
  std::shared_ptr<model::Model> model;
  std::unique_ptr<engine::Session> session;

  const text::Tokenizer& tokenizer() const;  // throws Error when the model came without one
};
// `tweak` gets the session's options after the common ones are filled in. `draft` guesses tokens ahead, if anything.
OpenModel open_model(const ModelArgs& model, const DeviceArgs& device, const OutputArgs& output,
                     const std::function<void(const arch::Architecture&, engine::SessionOptions&)>& tweak = {},
                     const DraftArgs& draft = {});

// A tweak for verbs that run one sequence at a time.
inline void one_sequence(const arch::Architecture&, engine::SessionOptions& options) { options.max_batch = 1; }

kernels::KvCodec kv_codec_from(const std::string& name);

// Exactly one object on standard output. Bytes that are no UTF-8 become U+FFFD.
void print_json(const Json& object);
// To standard output, at once; throws Error when it cannot be written.
void print_text(std::string_view text);

// `text` or the content of `file` ("-": standard input); exactly one of the two unless `otherwise` is given.
std::string prompt_from(const std::optional<std::string>& text, const std::optional<std::string>& file,
                        std::optional<std::string_view> otherwise);

// A token's vocabulary entry in quotes, with control characters escaped, for tables.
std::string in_quotes(std::string_view text);

// "1.2 GB", "640 kB": decimal units, as file managers and model pages write them.
std::string readable_bytes(std::uint64_t bytes);
// "7.24 B", "262 k".
std::string readable_count(std::uint64_t count);

// 0 for no values; of an even number the mean of the two in the middle.
double median(std::vector<double> values);
double per_second(double count, double seconds);
// Tokens per second after the first one, which the prompt's pass yields.
double decode_rate(const api::GenerateResult& result);
// The tokens that decoding passes produced, an end token included.
std::size_t decoded_tokens(const api::GenerateResult& result);

// "in.gguf" and the like: whether `path` has an extension (or is a folder name) that convert and synth can write;
// otherwise throws UsageError naming the nearest.
void check_output_kind(const std::string& path);

}  // namespace lathe::cli
