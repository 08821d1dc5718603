// lathe compare: models side by side on one text: size, how well they predict, how far they are from the first, speed.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <string>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/common.h"
#include "cli/scatter_plot.h"
#include "cli/text_windows.h"
#include "cli/verbs.h"
#include "engine/sampler.h"

namespace lathe::cli {
namespace {

constexpr int kDecodedTokens = 32;

struct Row {
  std::string model;
  std::uint64_t bytes = 0, parameters = 0;
  double bits = 0, perplexity = 0, kl = 0, agreement = 0, prefill = 0, decode = 0;
  std::string failure;  // why there are no numbers; empty where there are
};

// The outputs of two models at the same positions.
struct Difference {
  double nll = 0, kl = 0;  // kl: sum of p log(p / q), p the first model's
  std::uint64_t scored = 0, agreed = 0;

  void add(std::span<const float> p, std::span<const float> q, text::TokenId expected) {
    const double log_p = engine::log_sum_exp(p), log_q = engine::log_sum_exp(q);
    nll += log_q - static_cast<double>(q[static_cast<std::size_t>(expected)]);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double a = p[i] - log_p, b = q[i] - log_q;
      kl += std::exp(a) * (a - b);
    }
    agreed += std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
    ++scored;
  }
};

// All logits of a window's scored positions, row after row.
std::vector<float> logits_of(engine::Session& session, const Window& window) {
  std::vector<float> all;
  session.logits(window.read, window.first_scored,
                 [&](std::size_t, std::span<const float> row) { all.insert(all.end(), row.begin(), row.end()); });
  return all;
}

double decode_speed(engine::Session& session, const Window& window) {
  api::GenerateRequest request;
  request.prompt_ids.assign(
      window.read.begin(),
      window.read.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(8, window.read.size())));
  request.max_tokens = kDecodedTokens;
  request.ignore_eos = true;
  request.sampling.temperature = 0;
  return decode_rate(session.generate(request));
}

class Comparison {
 public:
  Comparison(const DeviceArgs& device, const OutputArgs& output, std::string text, std::uint32_t limit, bool speed)
      : device_(device), output_(output), text_(std::move(text)), limit_(limit), speed_(speed) {}

  Row row_for(const std::string& name, const std::string& first) {
    const OpenModel other = open(name);
    const bool is_first = name == first;
    std::optional<OpenModel> reference;
    if (!is_first) reference.emplace(open(first));
    const engine::Session& session = *other.session;
    if (!is_first && reference->file.architecture.vocab_size != other.file.architecture.vocab_size) {
      throw Error(fmt::format("has a vocabulary of {}, the first model one of {}", other.file.architecture.vocab_size,
                              reference->file.architecture.vocab_size),
                  name, "compare models that share a tokenizer");
    }
    const std::vector<Window> windows = windows_for(other, session.context());
    Row row{.model = name, .bytes = other.file_bytes, .parameters = other.model->parameters()};
    row.bits = row.parameters == 0 ? 0 : 8.0 * static_cast<double>(row.bytes) / static_cast<double>(row.parameters);
    Difference difference;
    std::uint64_t read = 0;
    double seconds = 0;
    Progress progress(name, windows.size(), !output_.quiet);
    for (const Window& window : windows) {
      interrupt_token().check();
      const auto started = std::chrono::steady_clock::now();
      const std::vector<float> q = logits_of(*other.session, window);
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
      const std::vector<float> p = is_first ? q : logits_of(*reference->session, window);
      const std::size_t vocab = q.size() / window.expected.size();
      for (std::size_t i = 0; i < window.expected.size(); ++i) {
        difference.add(std::span(p).subspan(i * vocab, vocab), std::span(q).subspan(i * vocab, vocab),
                       window.expected[i]);
      }
      read += window.read.size();
      progress.advance();
    }
    const double count = static_cast<double>(difference.scored);
    if (std::isnan(difference.nll)) fail(name, "the model's output is not a number");
    row.perplexity = std::exp(difference.nll / count);
    row.kl = difference.kl / count;
    row.agreement = static_cast<double>(difference.agreed) / count;
    row.prefill = per_second(static_cast<double>(read), seconds);
    if (speed_) row.decode = decode_speed(*other.session, windows.front());
    return row;
  }

 private:
  OpenModel open(const std::string& name) const {
    ModelArgs args;
    args.model = name;
    OutputArgs quiet = output_;
    quiet.quiet = true;
    return open_model(args, device_, quiet, [](const arch::Architecture& shape, engine::SessionOptions& session) {
      if (session.context == 0) session.context = std::min(kUsualWindow, shape.context_length);
      session.max_batch = 1;
      session.prefix_cache = false;
    });
  }

  std::vector<Window> windows_for(const OpenModel& open, std::size_t length) const {
    const text::SpecialTokens& special = open.tokenizer().special();
    std::vector<Window> windows =
        plain_windows(open.tokenizer().encode(text_, {.add_special = false, .parse_special = false}), length,
                      special.add_bos ? special.bos : text::kNoToken);
    if (limit_ > 0 && windows.size() > limit_) windows.resize(limit_);
    if (windows.empty()) throw Error("the text is too short to score a token", open.file.path, "use a longer text");
    return windows;
  }

  const DeviceArgs& device_;
  const OutputArgs& output_;
  std::string text_;
  std::uint32_t limit_;
  bool speed_;
};

Json json_of(const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    if (!row.failure.empty()) {
      list.push_back({{"model", row.model}, {"error", row.failure}});
      continue;
    }
    list.push_back({{"model", row.model},
                    {"bytes", row.bytes},
                    {"parameters", row.parameters},
                    {"bits_per_weight", row.bits},
                    {"perplexity", row.perplexity},
                    {"kl", row.kl},
                    {"top1_agreement", row.agreement},
                    {"prefill_tokens_per_second", row.prefill},
                    {"decode_tokens_per_second", row.decode}});
  }
  return {{"rows", std::move(list)}};
}

std::string table_of(const std::vector<Row>& rows, bool markdown) {
  std::size_t width = 5;
  for (const Row& row : rows) width = std::max(width, row.model.size());
  const std::string_view bar = markdown ? "| " : "", sep = markdown ? " | " : "  ", end = markdown ? " |\n" : "\n";
  std::string text =
      fmt::format("{}{:<{}}{}{:>7}{}{:>9}{}{:>10}{}{:>9}{}{:>7}{}{:>9}{}{:>9}{}", bar, "model", width, sep, "bits", sep,
                  "size", sep, "perplexity", sep, "KL", sep, "top-1", sep, "prefill", sep, "decode", end);
  if (markdown) text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Row& row : rows) {
    if (!row.failure.empty()) {
      text += fmt::format("{}{:<{}}{}n/a: {}{}", bar, row.model, width, sep, row.failure,
                          markdown ? " | | | | | | |\n" : "\n");
      continue;
    }
    text += fmt::format("{}{:<{}}{}{:>7.3f}{}{:>9}{}{:>10.4f}{}{:>9.5f}{}{:>6.2f}%{}{:>9.1f}{}{:>9.1f}{}", bar,
                        row.model, width, sep, row.bits, sep, readable_bytes(row.bytes), sep, row.perplexity, sep,
                        row.kl, sep, 100 * row.agreement, sep, row.prefill, sep, row.decode, end);
  }
  return text;
}

void write_plot(const std::string& path, const std::string& x_label, const std::vector<Row>& rows, double Row::*x) {
  std::vector<PlotPoint> points;
  points.reserve(rows.size());
  for (const Row& row : rows) {
    if (!row.failure.empty()) continue;
    points.push_back({row.*x, row.perplexity, std::filesystem::path(row.model).filename().string()});
  }
  AtomicFile file(path);
  file.write(scatter_plot("Quality", x_label, "perplexity", points));
  file.commit();
}

}  // namespace

int compare_verb(Arguments arguments) {
  DeviceArgs device;
  OutputArgs output;
  std::vector<std::string> models;
  std::optional<std::string> text, file, plot, speed_plot;
  std::uint32_t limit = 0;
  bool markdown = false, no_speed = false;
  Options options("compare", "A B ... -f FILE [options]",
                  "Compares models on one text: bits per weight, size, perplexity (as lathe perplexity has it), the "
                  "mean divergence KL(first || other) of the next token's distribution in nats, how often both find "
                  "the same token likeliest, and tokens per second.");
  options.positionals("MODEL", models, "the models; the first is what the others are held against");
  options.value("-f,--file", file, "FILE", "the text; - reads standard input");
  options.value("-p,--prompt", text, "TEXT", "the text itself");
  options.value("--windows", limit, "N", "score the first N windows only; 0: all");
  options.flag("--markdown", markdown, "print the table as Markdown");
  options.flag("--no-speed", no_speed, "do not measure decoding");
  options.value("--plot", plot, "FILE", "draw perplexity against bits per weight as SVG");
  options.value("--speed-plot", speed_plot, "FILE", "draw perplexity against decoded tokens per second as SVG");
  add_device_options(options, device, "tokens per window; 0: 512, or the model's context if that is less");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (models.empty()) throw UsageError("compare needs models");
  if (no_speed && speed_plot) {
    throw UsageError("--no-speed leaves --speed-plot nothing to draw", {}, "leave one of them out");
  }

  Comparison comparison(device, output, prompt_from(text, file, std::nullopt), limit, !no_speed);
  std::vector<Row> rows;
  rows.reserve(models.size());
  for (const std::string& model : models) {
    try {
      rows.push_back(comparison.row_for(model, models.front()));
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      if (rows.empty()) throw;  // nothing can be held against the first
      rows.push_back({.model = model, .failure = error.what()});
    }
  }
  if (plot) write_plot(*plot, "bits per weight", rows, &Row::bits);
  if (speed_plot) write_plot(*speed_plot, "decoded tokens per second", rows, &Row::decode);
  if (output.json) {
    print_json(json_of(rows));
  } else {
    print_text(table_of(rows, markdown));
  }
  const bool whole = std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.failure.empty(); });
  return whole ? kExitSuccess : kExitFailure;
}

}  // namespace lathe::cli
