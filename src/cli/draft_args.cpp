#include "cli/draft_args.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "cli/common.h"

namespace lathe::cli {
namespace {

constexpr std::string_view kLayers = "layers:", kNgram = "ngram";
constexpr std::uint32_t kMostTokens = 64;

std::uint32_t parse_layers(std::string_view draft) {
  const std::string_view text = draft.substr(kLayers.size());
  std::uint32_t layers = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), layers);
  if (status != std::errc{} || stop != text.data() + text.size() || layers == 0)
    throw UsageError(fmt::format("--draft layers: needs a number of layers, not '{}'", text));
  return layers;
}

bool is_model(const std::string& draft) { return draft != kNgram && !draft.starts_with(kLayers); }

}  // namespace

void add_draft_options(Options& options, DraftArgs& args) {
  options.value("--draft", args.draft, "MODEL|layers:N|ngram",
                "guess tokens ahead with a small model of the same vocabulary, the first N layers of the model itself, "
                "or what the text repeats; the text stays the same, it may come faster");
  options.value("--draft-tokens", args.tokens, "N", "tokens to guess at a time",
                fmt::to_string(engine::DraftOptions().tokens));
}

void validate(const DraftArgs& args) {
  if (args.tokens && !args.draft)
    throw UsageError("--draft-tokens decides nothing without --draft", {}, "leave it out or give --draft");
  if (args.tokens && (*args.tokens == 0 || *args.tokens > kMostTokens))
    throw UsageError(fmt::format("--draft-tokens must be 1 to {}", kMostTokens));
  if (!args.draft) return;
  if (args.draft->starts_with(kLayers)) parse_layers(*args.draft);
  if (is_model(*args.draft)) find_model({.model = *args.draft});
}

engine::DraftOptions open_draft(const DraftArgs& args, engine::Runtime& runtime) {
  engine::DraftOptions options;
  if (!args.draft) return options;
  options.tokens = args.tokens.value_or(options.tokens);
  if (args.draft->starts_with(kLayers)) {
    options.kind = engine::DraftKind::kLayers;
    options.layers = parse_layers(*args.draft);
  } else if (*args.draft == kNgram) {
    options.kind = engine::DraftKind::kNgram;
  } else {
    options.kind = engine::DraftKind::kModel;
    const formats::ModelFile file = load_model(ModelArgs{.model = *args.draft});
    log_info("draft {}: {}, {} layers, {} parameters", file.path, file.architecture.family, file.architecture.n_layers,
             readable_count(file.weights.parameters()));
    options.model = runtime.load(file);
    options.tokenizer = file.tokenizer;
  }
  return options;
}

}  // namespace lathe::cli
