// lathe serve: models behind an OpenAI-compatible HTTP server.
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cache/kv_policy.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "serve/http/server.h"
#include "serve/models.h"
#include "serve/service.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPrefixStoreSize = 1 << 30;

struct ServeArgs {
  std::vector<std::string> models, adapters, api_keys, allowed_hosts;
  std::optional<std::string> tokenizer, key_file, certificate, key, access_log, prefix_store;
  std::uint32_t port = 8080, engines = 1, parallel = 16, queue = 256, chunk = 256, latency_batch = 0,
                session_seconds = 1800;
  std::uint64_t memory = 0, kv_memory = 0, max_body = std::uint64_t{8} << 20, prefix_store_size = kPrefixStoreSize;
  std::uint32_t max_connections = 4096, drain_seconds = 30, idle_seconds = 75, header_seconds = 10;
  std::string host = "127.0.0.1", request_policies = "full,sinks,infllm";
  std::uint32_t request_policy_tokens = 4096;
};

// "name=path" or "path", whose name is the file's without its extension.
std::pair<std::string, std::string> named(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) return {text.substr(0, equals), text.substr(equals + 1)};
  fs::path path(text);
  if (!path.has_filename()) path = path.parent_path();
  return {fs::is_directory(path) ? path.filename().string() : path.stem().string(), text};
}

// "MODEL:NAME=PATH" or, with one model, "NAME=PATH"; PATH may end in ":SCALE".
void add_adapter(std::vector<serve::ModelSpec>& specs, const std::string& text) {
  auto [name, path] = named(text);
  serve::ModelSpec* spec = specs.size() == 1 ? &specs.front() : nullptr;
  if (const std::size_t colon = name.find(':'); colon != std::string::npos) {
    spec = nullptr;
    for (serve::ModelSpec& one : specs) {
      if (one.name == name.substr(0, colon)) spec = &one;
    }
    name.erase(0, colon + 1);
  }
  if (spec == nullptr) {
    throw UsageError(fmt::format("--adapter '{}' names no model", text), {},
                     "write MODEL:NAME=PATH, with MODEL one of those that are served");
  }
  serve::AdapterSpec adapter{name, path};
  if (const std::size_t colon = path.rfind(':'); colon != std::string::npos && colon + 1 < path.size()) {
    const char* end = path.data() + path.size();
    const auto [stop, status] = std::from_chars(path.data() + colon + 1, end, adapter.scale);
    if (status == std::errc{} && stop == end) adapter.path.resize(colon);
  }
  spec->adapters.push_back(std::move(adapter));
}

std::vector<serve::ModelSpec> model_specs(const ServeArgs& args) {
  std::vector<serve::ModelSpec> specs;
  for (const std::string& text :
       args.models.empty() ? std::vector<std::string>{std::string(kTinyModel)} : args.models) {
    const auto [name, path] = named(text);
    for (const serve::ModelSpec& other : specs) {
      if (other.name == name) throw UsageError(fmt::format("two models are called '{}'", name), {}, "use NAME=PATH");
    }
    if (name.find(':') != std::string::npos)
      throw UsageError(fmt::format("a model's name cannot hold a colon: '{}'", name), {}, "use NAME=PATH");
    ModelArgs model;
    model.model = path;
    model.tokenizer = args.tokenizer;
    find_model(model);  // a missing file is an error before the server starts
    specs.push_back({name, [model] { return load_model(model); }, {}});
  }
  for (const std::string& adapter : args.adapters) add_adapter(specs, adapter);
  return specs;
}

std::vector<std::string> api_keys(const ServeArgs& args) {
  std::vector<std::string> keys = args.api_keys;
  if (args.key_file) {
    const std::string text = read_file(*args.key_file);
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      std::string line = text.substr(begin, end - begin);
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (!line.empty()) keys.push_back(line);
      begin = end + 1;
    }
    if (keys.size() == args.api_keys.size()) throw Error("holds no key", *args.key_file, "write one key a line");
  }
  for (const std::string& key : keys) {
    if (key.empty()) throw UsageError("an API key is empty");
  }
  return keys;
}

// "full,infllm", or "none".
serve::RequestPolicies request_policies(const ServeArgs& args) {
  constexpr std::uint32_t kLeastTokens = 64;
  serve::RequestPolicies policies;
  policies.offered.clear();
  policies.most_tokens = args.request_policy_tokens;
  if (args.request_policy_tokens < kLeastTokens)
    throw UsageError(fmt::format("--request-kv-tokens must be {} or more", kLeastTokens));
  if (args.request_policies == "none") return policies;
  const std::string& text = args.request_policies;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    if (name.find(':') != std::string::npos || name.empty())
      throw UsageError(fmt::format("--request-kv-policies holds '{}'", name), {},
                       "give names without numbers: full,sinks,infllm; or none");
    policies.offered.emplace_back(cache::kv_policy_kind_name(cache::kv_policy_choice(name).kind));
    begin = end + 1;
  }
  return policies;
}

// Where the access log goes: nowhere, standard error ("-"), or the end of a file.
class AccessLog {
 public:
  explicit AccessLog(const std::optional<std::string>& target) {
    if (!target) return;
    file_ = *target == "-" ? stderr : std::fopen(target->c_str(), "a");
    if (file_ == nullptr) throw Error("cannot be written", *target, "choose another --access-log");
  }
  ~AccessLog() {
    if (file_ != nullptr && file_ != stderr) std::fclose(file_);
  }
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  bool open() const { return file_ != nullptr; }
  void write(const std::string& line) {
    std::fputs((line + "\n").c_str(), file_);
    std::fflush(file_);
  }

 private:
  std::FILE* file_ = nullptr;
};

}  // namespace

int serve_verb(Arguments arguments) {
  ServeArgs args;
  DeviceArgs device;
  OutputArgs output;
  Options options("serve", "[MODEL...] [options]",
                  "Serves models over HTTP: OpenAI's API under /v1, /health, /metrics. MODEL is a model as everywhere, "
                  "or NAME=MODEL; requests choose by name. Stops on Ctrl-C or SIGTERM once running requests are done.");
  options.positionals("MODEL", args.models, "a model to serve, or NAME=MODEL; may be repeated (default: tiny)");
  options.list("-m,--model", args.models, "MODEL", "the same as a positional MODEL");
  options.value("--tokenizer", args.tokenizer, "FILE", "use this tokenizer instead of the models' own");
  options.list("--adapter", args.adapters, "[MODEL:]NAME=PATH[:SCALE]",
               "a LoRA adapter, asked for as model MODEL:NAME or in a request's adapters; may be repeated");
  options.value("--host", args.host, "ADDRESS", "listen there; anything but loopback makes the server public");
  options.value("--port", args.port, "N", "TCP port; 0: any free one");
  options.list("--api-key", args.api_keys, "KEY", "require this key as bearer token; may be repeated");
  options.value("--api-key-file", args.key_file, "FILE", "require one of the keys in FILE, one a line");
  options.value("--tls-cert", args.certificate, "FILE", "serve HTTPS with this certificate chain (PEM)");
  options.value("--tls-key", args.key, "FILE", "the certificate's private key (PEM)");
  options.list("--allowed-host", args.allowed_hosts, "NAME",
               "a name of this server that requests may give as Host; needed on loopback behind a proxy");
  options.value("--access-log", args.access_log, "FILE", "append a JSON line for each request; - is standard error");
  options.value("--parallel", args.parallel, "N", "sequences generated together");
  options.value(
      "--engines", args.engines, "N",
      "engines of each model, with a batch, a queue and KV blocks of their own each; a request goes to the one "
      "that has read its beginning");
  options.value("--queue", args.queue, "N", "calls that may wait beyond those; more are answered with 429");
  options.value("--chunk", args.chunk, "N", "rows of one forward pass: what a long prompt may delay others by");
  options.value("--latency-batch", args.latency_batch, "N",
                "sequences generated together while a call for latency runs; 0: --parallel");
  options.value("--request-kv-policies", args.request_policies, "NAMES",
                "KV policies that a request may choose, separated by commas; none: only --kv-policy");
  options.value("--request-kv-tokens", args.request_policy_tokens, "N",
                "largest window, first tokens and tokens of the blocks shown that a request may ask of infllm");
  options.value("--session-timeout", args.session_seconds, "SECONDS",
                "forget a session of semantic variables that nobody has used so long");
  options.size("--kv-memory", args.kv_memory, "memory for each engine's KV blocks; 0: what --parallel contexts need");
  options.size("--memory", args.memory, "memory for models; idle ones are closed to make room; 0: no bound");
  options.value("--prefix-store", args.prefix_store, "DIR",
                "keep the prefix cache there from one run to the next: files that tell the tokens of prompts");
  options.size("--prefix-store-size", args.prefix_store_size, "largest file there, of which a model has one");
  options.size("--max-body", args.max_body, "largest request body");
  options.value("--max-connections", args.max_connections, "N", "open connections at most");
  options.value("--header-timeout", args.header_seconds, "SECONDS", "for a request's head to arrive");
  options.value("--idle-timeout", args.idle_seconds, "SECONDS", "close a connection that has been idle so long");
  options.value("--drain-timeout", args.drain_seconds, "SECONDS", "how long running requests may take when stopping");
  add_device_options(options, device, "tokens of context; 0: what the model was trained for");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (args.port > 65535) throw UsageError(fmt::format("--port is {}, at most 65535", args.port));
  if (args.parallel == 0 || args.parallel > 4096) throw UsageError("--parallel must lie between 1 and 4096");
  if (args.engines == 0 || args.engines > serve::PrefixRouter::kMostEngines)
    throw UsageError(fmt::format("--engines must lie between 1 and {}", serve::PrefixRouter::kMostEngines));
  if (args.queue == 0) throw UsageError("--queue must be 1 or more");
  if (args.chunk == 0 || args.chunk > 65536) throw UsageError("--chunk must lie between 1 and 65536");
  if (args.prefix_store_size == 0) throw UsageError("--prefix-store-size must be more than 0");
  if (!args.prefix_store && args.prefix_store_size != kPrefixStoreSize)
    throw UsageError("--prefix-store-size decides nothing without --prefix-store");

  engine::Runtime runtime(runtime_options(device));
  engine::SessionOptions session;
  session.context = device.context;
  session.kv_codec = kv_codec_from(device.kv_codec);
  session.kv_policy = device.kv_policy;
  session.kv_folder = device.kv_disk.value_or("");
  session.max_batch = args.parallel;
  session.max_waiting = args.queue;
  session.chunk = args.chunk;
  session.latency_batch = args.latency_batch;
  session.kv_bytes = args.kv_memory;
  std::vector<serve::ModelSpec> specs = model_specs(args);
  serve::ServiceOptions service_options;
  service_options.api_keys = api_keys(args);
  AccessLog log(args.access_log);
  std::optional<serve::PrefixStore> prefix_store;
  if (args.prefix_store) prefix_store.emplace(*args.prefix_store, args.prefix_store_size);

  serve::ServerOptions http;
  http.host = args.host;
  http.port = static_cast<std::uint16_t>(args.port);
  http.tls_certificate = args.certificate.value_or("");
  http.tls_key = args.key.value_or("");
  http.max_connections = args.max_connections;
  http.max_body_bytes = args.max_body;
  http.header_timeout = std::chrono::seconds(args.header_seconds);
  http.idle_timeout = std::chrono::seconds(args.idle_seconds);
  http.drain_timeout = std::chrono::seconds(args.drain_seconds);

  serve::Service* service_seen = nullptr;  // the server is bound before the service, which needs to know where
  serve::Server server(
      http, [&](const std::shared_ptr<serve::Exchange>& exchange) { service_seen->handle(exchange); },
      [&](const serve::Exchange& exchange) { service_seen->done(exchange); });
  serve::Models models(runtime, std::move(specs), session, args.memory, args.engines, std::move(prefix_store),
                       request_policies(args));
  service_options.allowed_hosts = args.allowed_hosts;
  service_options.session_ttl = std::chrono::seconds(args.session_seconds);
  service_options.loopback_only = server.loopback_only();
  if (log.open()) service_options.access_log = [&](const std::string& line) { log.write(line); };
  if (!server.loopback_only() && service_options.api_keys.empty())
    log_warning("{} is reachable from other machines and asks for no API key", args.host);
  serve::Service service(models, std::move(service_options));
  service.set_server(&server);
  service_seen = &service;
  models.acquire(models.names().front());  // what is wrong with the first model is known before the first request

  const std::string url = fmt::format("{}://{}:{}", args.certificate ? "https" : "http", args.host, server.port());
  if (output.json) {
    print_json({{"url", url}, {"models", models.names()}});
  } else {
    log_info("serving {} at {}", fmt::join(models.names(), ", "), url);
  }
  server.run();
  server.join_workers();
  models.stop();
  log_info("stopped");
  return kExitSuccess;
}

}  // namespace lathe::cli
