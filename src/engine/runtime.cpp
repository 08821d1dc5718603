#include "engine/runtime.h"

#include "engine/session.h"
#include "engine/session_state.h"

namespace lathe::engine {

Runtime::Runtime(const RuntimeOptions& options)
    : backend_(kernels::make_backend(options.device, options.cpu)), options_(options) {}
Runtime::~Runtime() = default;

kernels::Backend& Runtime::backend() { return *backend_; }

std::shared_ptr<model::Model> Runtime::load(const formats::ModelFile& file) {
  try {
    auto model = std::make_shared<model::Model>(file.architecture, file.weights, backend_);
    model->set_source(file.path);
    return model;
  } catch (const Error& error) {
    throw error.within(file.path);
  }
}

std::unique_ptr<Session> Runtime::open(std::shared_ptr<model::Model> model,
                                       std::shared_ptr<const text::Tokenizer> tokenizer,
                                       const SessionOptions& options) {
  const std::uint64_t kv_bytes = options.kv_bytes > 0 ? options.kv_bytes : options_.kv_bytes;
  return std::unique_ptr<Session>(
      new Session(std::make_unique<Session::State>(std::move(model), std::move(tokenizer), options, kv_bytes)));
}

}  // namespace lathe::engine
