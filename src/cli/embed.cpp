// lathe embed: one vector per line of text.
#include <algorithm>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

// Lines handed to the engine at once: enough to fill its passes, few enough for the progress bar to move.
constexpr std::size_t kLinesAtOnce = 64;

// The lines of `content`; the last may lack its line end.
std::vector<std::string> texts_of(const std::string& content) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::size_t text_end = end > begin && content[end - 1] == '\r' ? end - 1 : end;
    lines.push_back(content.substr(begin, text_end - begin));
    if (lines.back().empty()) {
      throw Error("an empty line has no vector", fmt::format("line {}", lines.size()), "leave it out of the file");
    }
    begin = end + 1;
  }
  return lines;
}

api::Pooling pooling_from(const std::string& name) {
  if (name == "cls") return api::Pooling::kCls;
  return name == "last" ? api::Pooling::kLast : api::Pooling::kMean;
}

std::string pooling_name(PoolingKind kind) {
  if (kind == PoolingKind::kCls) return "cls";
  return kind == PoolingKind::kLast ? "last" : "mean";
}

// Numbers as short as they can be and still read back as the same float.
void print_vector(const std::vector<float>& vector) {
  std::string line;
  for (const float value : vector) line += fmt::format("{}{}", line.empty() ? "" : " ", value);
  print_text(line + "\n");
}

// embed() counts the texts it was given; the user counts the lines of the file.
Error on_line(const Error& error, std::size_t first) {
  std::size_t text = 0;
  if (!error.where().starts_with("text ")) return error;
  text = std::stoul(error.where().substr(std::string_view("text ").size()));
  return Error(error.problem(), fmt::format("line {}", first + text), error.remedy());
}

}  // namespace

int embed_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  std::optional<std::string> text, file;
  std::string pooling = "model";
  bool normalize = false;
  api::EmbedOptions embedding;
  std::uint32_t batch = 8;
  Options options(
      "embed", "MODEL -f LINES [options]",
      "Turns every line of a file into a vector: the model's hidden states after its final norm, pooled over "
      "the line's tokens. One vector per line, numbers with spaces between.");
  add_model_options(options, model, true);
  options.value("-f,--file", file, "LINES", "the texts, one a line; - reads standard input");
  options.value("-p,--prompt", text, "TEXT", "one text; line ends belong to it");
  options.choice(
      "--pooling", pooling, {"model", "mean", "cls", "last"},
      "of a line's tokens take the mean, the first, or the last; model: as its files say, otherwise the mean");
  options.flag("--normalize", normalize,
               "to unit length, so that a dot product is the cosine; also done where the model's files ask for it");
  options.value("--batch", batch, "N", "lines read together");
  add_device_options(options, device, "tokens of a line at most; 0: what the model was trained for");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (pooling != "model") embedding.pooling = pooling_from(pooling);
  if (normalize) embedding.normalize = true;
  if (batch == 0) throw UsageError("--batch must be 1 or more");
  model_name(model);

  const std::string content = prompt_from(text, file, std::nullopt);
  const std::vector<std::string> lines = text ? std::vector<std::string>{content} : texts_of(content);
  if (lines.empty()) throw Error("has no lines", *file);
  const OpenModel open = open_model(model, device, output, [&](const auto&, engine::SessionOptions& session) {
    session.max_batch = batch;
    session.prefix_cache = false;
  });
  open.tokenizer();
  const arch::Architecture& a = open.model->architecture();
  if (pooling == "model") pooling = pooling_name(a.pooling);
  normalize = normalize || a.unit_vectors;

  Json vectors = Json::array();
  Progress progress("embed", lines.size(), !output.quiet);
  for (std::size_t begin = 0; begin < lines.size(); begin += kLinesAtOnce) {
    const auto some = std::span(lines).subspan(begin, std::min(kLinesAtOnce, lines.size() - begin));
    try {
      for (const std::vector<float>& vector : open.session->embed(some, embedding)) {
        if (output.json) {
          vectors.push_back(vector);
        } else {
          print_vector(vector);
        }
      }
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      throw on_line(error, begin);
    }
    progress.advance(some.size());
  }
  if (output.json) {
    print_json({{"embeddings", std::move(vectors)},
                {"dim", open.session->dimension()},
                {"pooling", pooling},
                {"normalize", normalize},
                {"model", open.file.path}});
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
