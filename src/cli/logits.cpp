// lathe logits: the raw outputs of a model for given token ids.
#include <algorithm>
#include <numeric>
#include <string>

#include "base/json.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

constexpr std::uint32_t kShownByDefault = 10;  // candidates per position for people

struct Candidate {
  text::TokenId id;
  float logit;
};

// The `count` largest logits, largest first, lower ids first among equals.
std::vector<Candidate> largest(std::span<const float> logits, std::size_t count) {
  count = std::min(count, logits.size());
  std::vector<text::TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](text::TokenId a, text::TokenId b) {
                      const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  std::vector<Candidate> best;
  for (std::size_t i = 0; i < count; ++i) best.push_back({ids[i], logits[static_cast<std::size_t>(ids[i])]});
  return best;
}

}  // namespace

int logits_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  std::optional<std::string> id_list, text, file, target_list;
  std::optional<std::uint32_t> top;
  bool all = false, no_special = false;
  Options options(
      "logits", "MODEL --ids 1,2,3 | -p TEXT [options]",
      "Shows what the model gives for the token after the last one, or after every one: all logits as JSON, "
      "or the largest.");
  add_model_options(options, model, true);
  options.value("--ids", id_list, "IDS", "the token ids to read");
  options.value("-p,--prompt", text, "TEXT", "the text to read, instead of ids");
  options.value("-f,--file", file, "FILE", "read the text from FILE; - reads standard input");
  options.value("--target", target_list, "IDS",
                "encoder-decoder models: the ids that follow the token the decoder begins with, none by default");
  options.flag("--no-special", no_special, "no BOS before a text, and control tokens spelled in it are plain text");
  options.flag("--all", all, "after every position instead of the last");
  options.value("--top", top, "K", "only the K largest", "all with --json, otherwise 10");
  add_device_options(options, device, "tokens of context; 0: as many as are read");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  if (id_list && (text || file)) throw UsageError("--ids excludes -p and -f");
  if (!id_list && !text && !file) throw UsageError("no tokens given", "lathe logits", "use --ids 1,2,3 or -p TEXT");
  std::vector<text::TokenId> ids;
  if (id_list) ids = parse_id_list(*id_list, "--ids");
  const std::string content = id_list ? std::string() : prompt_from(text, file, std::nullopt);
  const OpenModel open =
      open_model(model, device, output, [&](const arch::Architecture& shape, engine::SessionOptions& session) {
        session.max_batch = 1;
        session.prefix_cache = false;
        if (id_list && session.context == 0 && !shape.positions_end()) {
          session.context = std::max(shape.context_length, static_cast<std::uint32_t>(ids.size()));
        }
      });
  if (!id_list) ids = open.tokenizer().encode(content, {.add_special = !no_special, .parse_special = !no_special});
  if (ids.empty()) throw UsageError("no tokens to read", "lathe logits");

  // What the rows stand behind: the ids, or what the decoder behind an encoder reads.
  std::optional<std::vector<text::TokenId>> target;
  if (target_list) target = parse_id_list(*target_list, "--target");
  std::vector<text::TokenId> read = ids;
  if (open.model->encoder() != nullptr) {
    read = {static_cast<text::TokenId>(open.model->architecture().encoder.start_token)};
    if (target) read.insert(read.end(), target->begin(), target->end());
  }

  Json rows = Json::array();
  std::string table;
  const std::size_t shown = top ? *top : kShownByDefault;
  const text::Tokenizer* const words = open.file.tokenizer ? &open.tokenizer().target() : nullptr;
  const auto show = [&](std::size_t position, std::span<const float> logits) {
    if (output.json && !top) {
      rows.push_back(std::vector<float>(logits.begin(), logits.end()));
      return;
    }
    Json row = Json::array();
    if (!output.json) table += fmt::format("after position {} ({}):\n", position, read[position]);
    for (const Candidate& candidate : largest(logits, shown)) {
      row.push_back({candidate.id, candidate.logit});
      if (output.json) continue;
      const std::string piece = words != nullptr ? in_quotes(words->piece(candidate.id)) : "";
      table += fmt::format("{:>7}  {:>10.5f}  {}\n", candidate.id, candidate.logit, piece);
    }
    rows.push_back(std::move(row));
  };
  if (target || open.model->encoder() != nullptr) {
    open.session->target_logits(ids, target.value_or(std::vector<text::TokenId>()), all ? 0 : read.size() - 1, show);
  } else {
    open.session->logits(ids, all ? 0 : ids.size() - 1, show);
  }
  if (output.json) {
    print_json({{"ids", ids}, {top ? "top" : "logits", std::move(rows)}});
  } else {
    print_text(table);
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
