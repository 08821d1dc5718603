// The HTTP server: one event loop on the calling thread, a coroutine for each connection, a few worker threads for what
// takes longer than a moment. Bounds and time-outs for everything a client sends; TLS when it has a certificate.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/http/exchange.h"

namespace lathe::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";        // an address, or a name that resolves to some
  std::uint16_t port = 8080;             // 0: any free one
  std::string tls_certificate, tls_key;  // PEM files; both or none
  std::uint32_t max_connections = 4096;
  std::uint32_t max_header_bytes = 16 << 10;
  std::uint64_t max_body_bytes = 8 << 20;
  std::chrono::milliseconds header_timeout{10'000};  // from a request's first byte to the end of its head
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds idle_timeout{75'000};   // between requests of a connection
  std::chrono::milliseconds write_timeout{30'000};  // without the client taking anything
  std::chrono::milliseconds drain_timeout{30'000};  // for running requests, once stop() was called
  std::uint32_t workers = 4;
  bool signals = true;  // SIGINT and SIGTERM stop it; false: whoever runs it minds them
};

class Server final : public Loop {
 public:
  // Called on the event loop for every request that was read whole.
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // Called on the event loop when an answer was sent or its client has gone.
  using Observer = std::function<void(const Exchange&)>;

  // Binds; throws Error when it cannot (address in use, unreadable certificate).
  Server(const ServerOptions& options, Handler handler, Observer done = {});
  ~Server() override;

  std::uint16_t port() const;  // the one it listens on
  bool loopback_only() const;  // every address it listens on is this machine's own
  // Serves until stop(), SIGINT or SIGTERM (ServerOptions::signals), and then until running requests have ended or
  // drain_timeout has passed. A second signal ends them at once.
  void run();
  void stop();  // from any thread
  bool draining() const;
  std::uint32_t connections() const;
  // Ends the worker threads; what they still have to do is dropped.
  void join_workers();

  void post(std::function<void()> task) override;
  void work(std::function<void()> task) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The answer for something that never reached a handler (a malformed request, a body too large), as JSON.
Response protocol_error(unsigned status, const std::string& message);

}  // namespace lathe::serve
