// A server inside this process, on any free port of this machine, for verbs that put one to work.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/common.h"

namespace lathe::cli {

struct OwnServerOptions {
  std::uint32_t parallel = 16, chunk = 256, latency_batch = 0;
  bool prefix_cache = true;
  std::string api_key;  // empty: everybody on this machine may ask
};

class OwnServer {
 public:
  OwnServer(const ModelArgs& model, const DeviceArgs& device, const OwnServerOptions& options);
  ~OwnServer();
  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;

  std::uint16_t port() const;
  std::string url() const;
  std::uint32_t vocab() const;
  const text::Tokenizer& tokenizer() const;
  engine::SessionStats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::cli
