#include "cli/own_server.h"

#include <thread>

#include "serve/http/server.h"
#include "serve/models.h"
#include "serve/service.h"

namespace lathe::cli {
namespace {

engine::SessionOptions session_options(const DeviceArgs& device, const OwnServerOptions& asked) {
  engine::SessionOptions options;
  options.context = device.context;
  options.kv_codec = kv_codec_from(device.kv_codec);
  options.kv_policy = device.kv_policy;
  options.kv_folder = device.kv_disk.value_or("");
  options.max_batch = asked.parallel;
  options.chunk = asked.chunk;
  options.latency_batch = asked.latency_batch;
  options.prefix_cache = asked.prefix_cache;
  return options;
}

serve::ServiceOptions service_options(const OwnServerOptions& asked) {
  serve::ServiceOptions options;
  if (!asked.api_key.empty()) options.api_keys = {asked.api_key};
  return options;
}

}  // namespace

struct OwnServer::State {
  State(const ModelArgs& model, const DeviceArgs& device, const OwnServerOptions& options)
      : runtime(runtime_options(device)),
        server(
            {.port = 0, .signals = false}, [this](const auto& exchange) { service.handle(exchange); },
            [this](const auto& exchange) { service.done(exchange); }),
        models(runtime, {{"model", [model] { return load_model(model); }, {}}}, session_options(device, options), 0),
        service(models, service_options(options)),
        lease(models.acquire("")) {
    service.set_server(&server);
    thread = std::thread([this] { server.run(); });
  }
  ~State() {
    server.stop();
    thread.join();
    server.join_workers();
    models.stop();
  }
  engine::Runtime runtime;
  serve::Server server;
  serve::Models models;
  serve::Service service;
  serve::Lease lease;
  std::thread thread;
};

OwnServer::OwnServer(const ModelArgs& model, const DeviceArgs& device, const OwnServerOptions& options)
    : state_(std::make_unique<State>(model, device, options)) {}
OwnServer::~OwnServer() = default;

std::uint16_t OwnServer::port() const { return state_->server.port(); }
std::string OwnServer::url() const { return fmt::format("http://127.0.0.1:{}", port()); }
std::uint32_t OwnServer::vocab() const { return state_->lease.model->any().model().architecture().vocab_size; }
const text::Tokenizer& OwnServer::tokenizer() const { return state_->lease.model->any().tokenizer(); }
engine::SessionStats OwnServer::stats() const { return state_->lease.model->any().stats(); }

}  // namespace lathe::cli
