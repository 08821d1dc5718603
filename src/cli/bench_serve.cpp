// lathe bench serve: a server under load on this machine, its own or another one.
#include <algorithm>
#include <string>

#include "base/cancel.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/thread_pool.h"
#include "cli/bench_programs.h"
#include "cli/common.h"
#include "cli/own_server.h"
#include "cli/verbs.h"
#include "serve/load/load.h"

namespace lathe::cli {
namespace {

Json times_json(const std::vector<double>& seconds) {
  return {{"p50", serve::quantile(seconds, 0.5)}, {"p99", serve::quantile(seconds, 0.99)}, {"count", seconds.size()}};
}

Json row_json(const serve::LoadOptions& load, const serve::LoadReport& report) {
  return {{"streams", load.streams},
          {"rate", load.rate},
          {"requests", report.completed},
          {"failed", report.failed},
          {"seconds", report.seconds},
          {"prompt_tokens", report.prompt_tokens},
          {"generated_tokens", report.generated_tokens},
          {"generated_tokens_per_second", per_second(static_cast<double>(report.generated_tokens), report.seconds)},
          {"requests_per_second", per_second(static_cast<double>(report.completed), report.seconds)},
          {"first_token_seconds", times_json(report.first_token)},
          {"between_tokens_seconds", times_json(report.between_tokens)},
          {"request_seconds", times_json(report.whole)}};
}

// A run that Ctrl-C ended is no measurement; and a server that it stops takes no more connections.
serve::LoadReport measured_load(const serve::LoadOptions& load) {
  try {
    serve::LoadReport report = serve::run_load(load, &interrupt_token());
    interrupt_token().check();
    return report;
  } catch (const Error&) {
    interrupt_token().check();
    throw;
  }
}

std::string table(const Json& rows) {
  std::string text = fmt::format("{:>8}{:>12}{:>14}{:>16}{:>16}{:>18}\n", "streams", "requests", "tokens/s",
                                 "first p50 ms", "first p99 ms", "between p99 ms");
  for (const Json& row : rows) {
    const auto ms = [&](const char* what, const char* q) { return 1e3 * row[what][q].get<double>(); };
    text += fmt::format("{:>8}{:>12}{:>14.1f}{:>16.1f}{:>16.1f}{:>18.1f}\n", row["streams"].get<int>(),
                        row["requests"].get<int>(), row["generated_tokens_per_second"].get<double>(),
                        ms("first_token_seconds", "p50"), ms("first_token_seconds", "p99"),
                        ms("between_tokens_seconds", "p99"));
  }
  return text;
}

}  // namespace

int bench_serve_verb(Arguments arguments) {
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  serve::LoadOptions load;
  std::string streams = "1,4,16,64";
  std::optional<std::string> url;
  std::uint32_t chunk = 256, per_stream = 4;
  float rate = 0;
  ProgramBench programs;
  Options options(
      "bench serve", "[MODEL] [options]",
      "Puts a server on this machine under load with random prompts: throughput, time to the first token, time "
      "between tokens. Starts its own server, or takes the one that --url names.");
  add_model_options(options, model, false);
  options.value("--url", url, "URL", "a running server (http://127.0.0.1:PORT) instead of an own one");
  options.value("--streams", streams, "LIST", "concurrent requests (1,4,16)");
  options.value("--rate", rate, "R",
                "requests a second at random times, --streams at a time at most; 0: without pause");
  options.value("--requests", per_stream, "N", "requests for each stream");
  options.value("-p,--prompt", load.prompt_tokens, "N", "tokens of a prompt");
  options.value("--shared", load.shared_tokens, "N", "of these, how many are the same in all prompts");
  options.value("-n,--tokens", load.generate, "N", "tokens of an answer");
  options.value("--vocab", load.vocab, "N", "with --url: prompts are token ids below N");
  options.value("--served-model", load.model, "NAME", "with --url: the name of the model to ask for");
  options.value("--api-key", load.api_key, "KEY", "with --url: the key to send");
  options.value("--chunk", chunk, "N", "rows of one forward pass of the own server");
  options.value("--seed", load.seed, "N", "of the prompts and of the times");
  add_program_bench_options(options, programs);
  add_device_options(options, device, "tokens of context; 0: as many as are needed");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (!programs.workload.name.empty()) {
    programs.server.chunk = chunk;
    if (url) throw UsageError("--workload starts its own server", {}, "leave --url out");
    return bench_programs(programs, model, device, output);
  }
  std::vector<std::uint32_t> counts;
  for (const std::int32_t count : parse_id_list(streams, "--streams")) {
    if (count < 1 || count > 1024)
      throw UsageError(fmt::format("--streams takes numbers from 1 to 1024, not {}", count));
    counts.push_back(static_cast<std::uint32_t>(count));
  }
  if (counts.empty()) throw UsageError("--streams wants at least one number");
  if (load.prompt_tokens == 0 || load.generate == 0 || per_stream == 0)
    throw UsageError("-p, -n and --requests must be 1 or more");
  if (rate < 0) throw UsageError("--rate must be 0 or more");
  load.rate = rate;

  std::unique_ptr<OwnServer> own;
  if (url) {
    constexpr std::string_view kScheme = "http://";
    const std::size_t colon = url->rfind(':');
    if (!url->starts_with(kScheme) || colon < kScheme.size())
      throw UsageError(fmt::format("--url is '{}'", *url), {}, "write http://127.0.0.1:PORT");
    load.host = url->substr(kScheme.size(), colon - kScheme.size());
    const auto port = parse_id_list(url->substr(colon + 1), "--url");
    if (port.size() != 1 || port[0] < 1 || port[0] > 65535) throw UsageError("--url names no port");
    load.port = static_cast<std::uint16_t>(port[0]);
  } else {
    if (device.context == 0) device.context = load.prompt_tokens + load.generate + 1;
    own = std::make_unique<OwnServer>(
        model, device, OwnServerOptions{.parallel = *std::max_element(counts.begin(), counts.end()), .chunk = chunk});
    load.port = own->port();
    load.vocab = std::min<std::uint32_t>(own->vocab(), 30000);
  }
  load.streams = 1;
  load.requests = 1;
  measured_load(load);  // warm-up
  Json rows = Json::array();
  for (const std::uint32_t count : counts) {
    load.streams = count;
    load.requests = count * per_stream;
    ++load.seed;  // prompts that no cache has seen
    const serve::LoadReport report = measured_load(load);
    if (report.failed > 0) log_warning("{} requests failed, the first with: {}", report.failed, report.first_failure);
    rows.push_back(row_json(load, report));
  }
  Json report = {{"model", url ? *url : model_name(model)},
                 {"threads", device.threads > 0 ? static_cast<int>(device.threads) : usable_cores()},
                 {"prompt_tokens", load.prompt_tokens},
                 {"shared_tokens", load.shared_tokens},
                 {"generated_tokens", load.generate},
                 {"streams", rows},
                 {"peak_rss_bytes", peak_rss_bytes()}};
  if (own) {
    const engine::SessionStats stats = own->stats();
    report["prefill_tokens"] = stats.prefill_tokens;
    report["prefix_hit_tokens"] = stats.prefix_hit_tokens;
    report["preemptions"] = stats.preemptions;
  }
  if (output.json) {
    print_json(report);
  } else {
    print_text(table(rows));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
