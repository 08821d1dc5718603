// lathe run-program: a graph of calls with semantic variables, run by a server or by a model here, and drawn as it
// runs.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <thread>

#include "base/cancel.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/terminal.h"
#include "cli/common.h"
#include "cli/own_server.h"
#include "cli/verbs.h"
#include "lathe/semantic.hpp"

namespace lathe::cli {
namespace {

// What the file says, with --set applied.
Json read_program(const std::string& path, const std::vector<std::string>& settings) {
  Json program = parse_json(path == "-" ? prompt_from(std::nullopt, "-", std::nullopt) : read_file(path), path, 100);
  if (!program.is_object() || !program.contains("calls") || !program["calls"].is_array())
    throw Error("is no program: it has no list of calls", path, "see docs/verbs/run-program.md");
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw UsageError(fmt::format("--set '{}' is no NAME=TEXT", setting), {}, "write NAME=TEXT or NAME=@FILE");
    const std::string value = setting.substr(equals + 1);
    program["variables"][setting.substr(0, equals)] = value.starts_with('@') ? read_file(value.substr(1)) : value;
  }
  return program;
}

// Draws the graph on standard error: on a terminal all nodes, again and again in place; elsewhere a line for each
// change.
class Drawing {
 public:
  explicit Drawing(bool quiet) : quiet_(quiet), live_(!quiet && ::isatty(STDERR_FILENO) == 1) {}

  void show(const Json& state) {
    if (quiet_) return;
    if (!live_) return show_changes(state);
    if (drawn_ > 0) std::fprintf(stderr, "\033[%zuA", drawn_);
    drawn_ = 0;
    const std::size_t columns = terminal_size().columns, rows = terminal_size().rows;
    for (const Json& node : state["nodes"]) {
      if (drawn_ + 2 > rows) break;
      std::string line = line_of(node, state);
      if (line.size() > columns) line.resize(columns);  // cut between bytes of ASCII: names are the only other text
      std::fprintf(stderr, "\r\033[K%s\n", line.c_str());
      ++drawn_;
    }
    std::fflush(stderr);
  }

 private:
  void show_changes(const Json& state) {
    for (const Json& node : state["nodes"]) {
      std::string& last = states_[node["node"].get<std::size_t>()];
      const auto now = node["state"].get<std::string>();
      if (last == now) continue;
      last = now;
      if (now != "waiting" && now != "queued") std::fprintf(stderr, "%s\n", line_of(node, state).c_str());
    }
  }

  // "    > summary    running   0.31 s   48+12 tokens   <- m0, m1"
  static std::string line_of(const Json& node, const Json& state) {
    const auto what = node["state"].get<std::string>();
    const char mark = what == "done" ? '*' : what == "running" ? '>' : what == "failed" ? '!' : '.';
    double seconds = 0;
    if (node["begun"].is_number())
      seconds = (node["ended"].is_number() ? node["ended"].get<double>() : state["seconds"].get<double>()) -
                node["begun"].get<double>();
    std::string inputs;
    for (const Json& input : node["inputs"]) {
      const auto& name = state["variables"][input.get<std::size_t>()]["name"].get_ref<const std::string&>();
      inputs += (inputs.empty() ? "  <- " : ", ") + name;
    }
    std::string line = fmt::format("{:{}}{} {:<{}}  {:<8}", "", 2 * node["depth"].get<std::size_t>(), mark,
                                   node["name"].get<std::string>(),
                                   24 - std::min<std::size_t>(20, 2 * node["depth"].get<std::size_t>()), what);
    if (node["begun"].is_number()) {
      line += fmt::format(" {:7.2f} s", seconds);
      if (node["ended"].is_number() && what == "done")
        line += fmt::format("  {}+{} tokens", node["prompt_tokens"].get<int>(), node["generated_tokens"].get<int>());
    }
    line += inputs;
    if (node.contains("error")) line += "  " + node["error"].get<std::string>();
    return line;
  }

  bool quiet_, live_;
  std::size_t drawn_ = 0;
  std::map<std::size_t, std::string> states_;
};

bool ended(const Json& state) {
  for (const Json& node : state["nodes"]) {
    if (node["state"] != "done" && node["state"] != "failed") return false;
  }
  return true;
}

std::string random_key() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

}  // namespace

int run_program_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  OwnServerOptions own;
  std::string file;
  std::optional<std::string> server, key, served;
  std::vector<std::string> settings;
  Options options("run-program", "FILE.json [MODEL] [options]",
                  "Runs a graph of calls joined by semantic variables, here or on a Lathe server, and draws it as it "
                  "runs. Writes the outputs that no call reads.");
  options.positional("FILE", file, "the program: {\"calls\": [...], \"variables\": {...}}; - reads standard input",
                     true);
  add_model_options(options, model, false);
  options.value("--server", server, "URL", "run it on that server instead of here");
  options.value("--api-key", key, "KEY", "with --server: the key to send");
  options.value("--served-model", served, "NAME", "with --server: the model to ask for");
  options.list("--set", settings, "NAME=TEXT", "a variable's value, or NAME=@FILE; may be repeated");
  options.value("--parallel", own.parallel, "N", "calls generated together");
  options.value("--chunk", own.chunk, "N", "rows of one forward pass");
  add_device_options(options, device, "tokens of context; 0: what the model was trained for");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (own.parallel == 0 || own.chunk == 0) throw UsageError("--parallel and --chunk must be 1 or more");
  if (!server && (key || served)) throw UsageError("--api-key and --served-model decide nothing without --server");
  const Json program = read_program(file, settings);

  std::unique_ptr<OwnServer> here;
  if (!server) {
    own.api_key = random_key();  // it listens for a moment, and for nobody else
    here = std::make_unique<OwnServer>(model, device, own);
  }
  SemanticClient client(server ? *server : here->url(), server ? key.value_or("") : own.api_key, served.value_or(""));
  const auto variables = client.submit_json(program.dump());
  Json state = Json::parse(client.state());
  const auto is_final = [&](const Json& variable) { return json_get<bool>(variable, "final", "the server's answer"); };
  if (!program.contains("want")) {
    for (const Json& variable : state["variables"]) {
      if (!is_final(variable)) continue;
      try {
        client.want(variable["id"].get<std::string>(), Criterion::kLatency);
      } catch (const Error&) {  // it has failed already, as the state says; a server that is gone fails below
      }
    }
  }
  for (const Json& variable : state["variables"]) {
    if (variable["producer"].is_null() && variable["status"] == "pending")
      throw Error(
          fmt::format("variable '{}' has no value and no call produces it", variable["name"].get<std::string>()), file,
          "give one with --set");
  }
  Drawing drawing(output.quiet || output.json);
  for (auto pause = std::chrono::milliseconds(10);; pause = std::min(pause * 2, std::chrono::milliseconds(200))) {
    drawing.show(state);
    if (ended(state)) break;
    interrupt_token().check();
    std::this_thread::sleep_for(pause);
    state = Json::parse(client.state());
  }
  Json values = Json::object();
  bool failed = false;
  for (const Json& variable : state["variables"]) {
    const bool ready = variable["status"] == "ready";
    const auto name = variable["name"].get<std::string>();
    failed = failed || !ready;
    values[name] = ready ? Json(client.get(variable["id"].get<std::string>())) : Json(nullptr);
    if (output.json || !is_final(variable) || !ready) continue;
    print_text(fmt::format("{}: {}\n", name, values[name].get<std::string>()));
  }
  for (const Json& node : state["nodes"]) {
    if (node.contains("error"))
      log_warning("{}: {}", node["name"].get<std::string>(), node["error"].get<std::string>());
  }
  if (output.json) print_json({{"variables", values}, {"nodes", state["nodes"]}, {"seconds", state["seconds"]}});
  return failed ? kExitFailure : kExitSuccess;
}

}  // namespace lathe::cli
