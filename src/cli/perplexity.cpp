// lathe perplexity: exp of the mean negative log-likelihood of a text's tokens, under one of two ways to cut the text
// into windows.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "base/cancel.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/common.h"
#include "cli/text_windows.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// What a decoder behind an encoder is scored on: a line of one file given the same line of the other.
struct Pair {
  std::vector<text::TokenId> source, target;
};

std::vector<Pair> pairs_of(const OpenModel& open, const std::string& sources, const std::string& targets,
                           const std::string& where) {
  const std::vector<std::string> from = lines_of(sources), to = lines_of(targets);
  if (from.size() != to.size())
    throw Error(fmt::format("has {} lines, the text {}: a source is needed for each", from.size(), to.size()), where);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < from.size(); ++i) {
    pairs.push_back({open.tokenizer().encode(from[i], {.parse_special = false}),
                     open.tokenizer().target().encode(to[i], {.parse_special = false})});
    if (pairs.back().source.empty() || pairs.back().target.empty())
      throw Error(fmt::format("line {} is empty, or its text is", i + 1), where, "leave out such pairs");
  }
  return pairs;
}

}  // namespace

int perplexity_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  std::optional<std::string> text, file, source_file;
  std::string protocol = "plain";
  std::uint32_t limit = 0;
  Options options(
      "perplexity", "MODEL -f FILE [options]",
      "Measures how well a model predicts a text: windows of -c tokens that do not overlap, begun by BOS if "
      "the model uses one, every token but the first scored. --protocol llama.cpp cuts and scores as that "
      "project's tool does, for comparisons. Encoder-decoder models are scored on every line of the text, its end "
      "included, given the same line of --source.");
  add_model_options(options, model, true);
  options.value("-f,--file", file, "FILE", "the text; - reads standard input");
  options.value("-p,--prompt", text, "TEXT", "the text itself");
  options.value("--source", source_file, "FILE", "encoder-decoder models: a source for each line of the text");
  options.choice("--protocol", protocol, {"plain", "llama.cpp"}, "how the text is cut and which tokens are scored");
  options.value("--windows", limit, "N", "score the first N windows only; 0: all");
  add_device_options(options, device, "tokens per window; 0: 512, or the model's context if that is less");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  const std::string content = prompt_from(text, file, std::nullopt);
  const OpenModel open =
      open_model(model, device, output, [](const arch::Architecture& shape, engine::SessionOptions& session) {
        if (session.context == 0) session.context = std::min(kUsualWindow, shape.context_length);
        session.max_batch = 1;
        session.prefix_cache = false;
      });
  const bool translates = open.model->encoder() != nullptr;
  if (translates && !source_file)
    throw UsageError("predicts a text given another one", open.file.path, "give a source for each line with --source");
  if (!translates && source_file) throw UsageError("has no encoder that could read --source", open.file.path);
  std::vector<Pair> pairs;
  if (translates) {
    if (protocol != "plain") throw UsageError("--source excludes --protocol llama.cpp");
    pairs = pairs_of(open, prompt_from(std::nullopt, source_file, std::nullopt), content, *source_file);
    if (limit > 0 && pairs.size() > limit) pairs.resize(limit);
  }
  const std::uint32_t length = open.session->context();
  if (length < 2) throw UsageError("-c must be 2 or more");
  const text::SpecialTokens& special = open.tokenizer().special();
  const text::TokenId bos = special.add_bos ? special.bos : text::kNoToken;
  const bool peer = protocol == "llama.cpp";
  const std::vector<text::TokenId> ids =
      open.tokenizer().encode(content, {.add_special = peer, .parse_special = false});
  std::vector<Window> windows;
  if (!translates) windows = peer ? peer_windows(ids, length, bos) : plain_windows(ids, length, bos);
  if (limit > 0 && windows.size() > limit) windows.resize(limit);
  if (windows.empty() && pairs.empty()) {
    throw Error(fmt::format("the text has {} tokens, too few for one window of {}", ids.size(), length),
                file.value_or("-p"), "use a longer text or a smaller -c");
  }

  double sum = 0, squares = 0;
  std::uint64_t scored = 0, read = 0;
  const auto started = std::chrono::steady_clock::now();
  Progress progress("perplexity", windows.size() + pairs.size(), !output.quiet);
  const auto score = [&](std::span<const float> logits, text::TokenId expected) {
    const double nll = negative_log_likelihood(logits, expected);
    if (std::isnan(nll)) fail(open.file.path, "the model's output is not a number at token {}", scored);
    sum += nll;
    squares += nll * nll;
    ++scored;
  };
  const auto advance = [&](std::size_t tokens) {
    read += tokens;
    progress.note(fmt::format("{:.4f}", std::exp(sum / static_cast<double>(scored))));
    progress.advance();
  };
  for (const Window& window : windows) {
    interrupt_token().check();
    open.session->logits(window.read, window.first_scored, [&](std::size_t position, std::span<const float> logits) {
      score(logits, window.expected[position - window.first_scored]);
    });
    advance(window.read.size());
  }
  for (const Pair& pair : pairs) {
    interrupt_token().check();
    const std::span<const text::TokenId> target(pair.target);
    open.session->target_logits(
        pair.source, target.first(target.size() - 1), 0,
        [&](std::size_t position, std::span<const float> logits) { score(logits, target[position]); });
    advance(pair.source.size() + pair.target.size());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const double count = static_cast<double>(scored), nll = sum / count, perplexity = std::exp(nll);
  // Of the mean, carried through exp to first order.
  const double error =
      scored > 1 ? perplexity * std::sqrt(std::max(0.0, squares / count - nll * nll) / (count - 1)) : 0;
  if (output.json) {
    print_json({{"perplexity", perplexity},
                {"nll", nll},
                {"tokens", scored},
                {"std_error", error},
                {"windows", windows.size() + pairs.size()},
                {"window_tokens", length},
                {"text_tokens", ids.size()},
                {"protocol", protocol},
                {"seconds", seconds},
                {"tokens_per_second", per_second(static_cast<double>(read), seconds)},
                {"model", open.file.path}});
  } else {
    const std::string cut = translates ? fmt::format("{} texts given their sources", pairs.size())
                                       : fmt::format("{} windows of {}, {}", windows.size(), length, protocol);
    print_text(fmt::format("perplexity {:.4f} +- {:.4f} ({:.5f} nats per token, {} tokens in {})\n", perplexity, error,
                           nll, scored, cut));
    log_info("{:.1f} tokens/s", per_second(static_cast<double>(read), seconds));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
