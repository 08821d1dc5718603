// Listeners, the coroutine of a connection, signals.
#include "serve/http/server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <csignal>
#include <list>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "net/wire.h"

namespace lathe::serve {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = net::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using lathe::net::Task, lathe::net::Until, lathe::net::Wire;

constexpr auto kAwait = net::as_tuple(net::use_awaitable);
constexpr std::chrono::milliseconds kClientCheck{250};  // how often a waiting connection looks for its client
constexpr std::chrono::seconds kHandshake{10}, kGoodbye{2};
constexpr std::size_t kPiece = 4096;  // asked for at a time where little is expected

// The head of an answer, as it goes over the wire. Without a length the body comes in chunks, or until the end.
std::string head_text(const Response& response, unsigned version, bool keep_alive,
                      std::optional<std::uint64_t> length) {
  http::response<http::empty_body> message;
  message.version(version);
  message.result(response.status);
  message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_alive);
  const bool bodiless = message.result() == http::status::no_content || message.result() == http::status::not_modified;
  if (length && !bodiless) message.content_length(*length);
  if (!length && version >= 11) message.chunked(true);
  std::ostringstream text;
  text << message.base();
  return std::move(text).str();
}

// What to say to a client whose request could not be read; nothing when there is nobody to listen any more.
std::optional<Response> refusal_of(error_code error, const ServerOptions& options) {
  if (error == http::error::header_limit) return protocol_error(431, "the header is too large");
  if (error == http::error::body_limit)
    return protocol_error(413, fmt::format("the body is larger than {} bytes", options.max_body_bytes));
  const bool of_http = error.category() == http::make_error_code(http::error::bad_method).category();
  if (of_http && error != http::error::end_of_stream && error != http::error::partial_message)
    return protocol_error(400, "malformed HTTP: " + error.message());
  return std::nullopt;
}

}  // namespace

struct Server::State {
  State(Loop& l, const ServerOptions& o, Handler h, Observer d)
      : loop(l), options(o), handler(std::move(h)), done(std::move(d)), workers(std::max(1u, o.workers)) {}

  // A connection as the list of all of them knows it.
  struct Slot {
    bool busy = false;            // with a request
    std::function<void()> close;  // ends it, whatever it waits for
    std::weak_ptr<Exchange> now;  // the request at hand
  };

  void listen();
  Task<void> accept_loop(tcp::acceptor& acceptor);
  Task<void> connection(Wire& wire, const std::string& peer, Slot& slot);
  Task<bool> one_request(Wire& wire, beast::flat_buffer& buffer, const std::string& peer, Slot& slot);
  Task<bool> answer(Wire& wire, Exchange& exchange, unsigned version, bool keep_alive);
  Task<bool> send_stream(Wire& wire, Exchange& exchange, net::steady_timer& wake, unsigned version, bool keep_alive);
  Task<bool> send_whole(Wire& wire, const Response& response, unsigned version, bool keep_alive,
                        bool head_only = false);
  Task<void> start(tcp::socket socket, std::list<Slot>::iterator slot);
  Task<void> refuse(tcp::socket socket);
  Task<void> watch_signals();
  void drain();
  void end_all();
  void stop_if_idle() {
    if (draining && slots.empty()) io.stop();
  }

  Loop& loop;
  ServerOptions options;
  Handler handler;
  Observer done;
  net::io_context io{1};
  net::thread_pool workers;
  std::optional<net::ssl::context> tls;
  std::list<tcp::acceptor> acceptors;
  std::list<Slot> slots;
  net::steady_timer deadline{io};
  net::signal_set signals{io};
  std::atomic<bool> draining{false};
  std::atomic<std::uint32_t> n_connections{0};
};

Server::Server(const ServerOptions& options, Handler handler, Observer done)
    : state_(std::make_unique<State>(*this, options, std::move(handler), std::move(done))) {
  if (options.tls_certificate.empty() != options.tls_key.empty())
    throw UsageError("TLS needs a certificate and its key", "serve", "give both --tls-cert and --tls-key");
  if (!options.tls_certificate.empty()) {
    auto& tls = state_->tls.emplace(net::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
    error_code error;
    tls.use_certificate_chain_file(options.tls_certificate, error);
    if (error) throw Error("no usable certificate chain (PEM)", options.tls_certificate, error.message());
    tls.use_private_key_file(options.tls_key, net::ssl::context::pem, error);
    if (error) throw Error("no usable private key (PEM) for the certificate", options.tls_key, error.message());
  }
  state_->listen();
}

Server::~Server() { join_workers(); }

void Server::join_workers() {
  state_->workers.stop();
  state_->workers.join();
}

void Server::State::listen() {
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error) throw Error("no such address: " + error.message(), options.host, "give an address of this machine");
  for (const auto& entry : found) {
    tcp::endpoint endpoint = entry.endpoint();
    if (!acceptors.empty() && options.port == 0) endpoint.port(acceptors.front().local_endpoint().port());
    tcp::acceptor acceptor(io);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error && endpoint.address().is_v6()) acceptor.set_option(net::ip::v6_only(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
    if (error && acceptors.empty() && std::next(found.begin()) == found.end()) break;
    if (!error) acceptors.push_back(std::move(acceptor));
  }
  if (acceptors.empty()) {
    throw Error("cannot listen: " + error.message(), fmt::format("{}:{}", options.host, options.port),
                "choose another --port or --host");
  }
}

std::uint16_t Server::port() const { return state_->acceptors.front().local_endpoint().port(); }

bool Server::loopback_only() const {
  return std::all_of(state_->acceptors.begin(), state_->acceptors.end(),
                     [](const auto& acceptor) { return acceptor.local_endpoint().address().is_loopback(); });
}

bool Server::draining() const { return state_->draining; }
std::uint32_t Server::connections() const { return state_->n_connections; }

void Server::post(std::function<void()> task) { net::post(state_->io, std::move(task)); }
void Server::work(std::function<void()> task) { net::post(state_->workers, std::move(task)); }

void Server::stop() {
  net::post(state_->io, [this] { state_->drain(); });
}

void Server::run() {
  for (auto& acceptor : state_->acceptors) net::co_spawn(state_->io, state_->accept_loop(acceptor), net::detached);
  if (state_->options.signals) {
    state_->signals.add(SIGINT);
    state_->signals.add(SIGTERM);
    net::co_spawn(state_->io, state_->watch_signals(), net::detached);
  }
  state_->io.run();
  error_code ignored;
  state_->signals.clear(ignored);  // from here on a signal ends the process
}

Task<void> Server::State::watch_signals() {
  for (bool again = false;; again = true) {
    const auto [error, signal] = co_await signals.async_wait(kAwait);
    if (error) co_return;
    if (again) {
      end_all();
    } else {
      log_info("stopping: no new connections, {} open", slots.size());
      drain();
    }
  }
}

void Server::State::drain() {
  if (draining.exchange(true)) return;
  for (auto& acceptor : acceptors) {
    error_code ignored;
    acceptor.close(ignored);
  }
  for (Slot& slot : slots) {
    if (!slot.busy && slot.close) slot.close();
  }
  deadline.expires_after(options.drain_timeout);
  deadline.async_wait([this](error_code error) {
    if (!error) end_all();
  });
  stop_if_idle();
}

// Running requests are cancelled and get a moment to say so; then the loop ends.
void Server::State::end_all() {
  for (Slot& slot : slots) {
    if (const auto exchange = slot.now.lock()) exchange->client_gone();
    if (slot.close) slot.close();
  }
  deadline.expires_after(kGoodbye);
  deadline.async_wait([this](error_code error) {
    if (!error) io.stop();
  });
}

Task<void> Server::State::accept_loop(tcp::acceptor& acceptor) {
  net::steady_timer pause(io);
  while (acceptor.is_open()) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (error == net::error::operation_aborted || draining) co_return;
    if (error) {  // out of file descriptors, say: some will come back
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (slots.size() >= options.max_connections) {
      net::co_spawn(io, refuse(std::move(socket)), net::detached);
      continue;
    }
    const auto slot = slots.emplace(slots.end());
    ++n_connections;
    net::co_spawn(io, start(std::move(socket), slot), [this, slot](const std::exception_ptr&) {
      slots.erase(slot);
      --n_connections;
      stop_if_idle();
    });
  }
}

// One connection too many gets a short answer where that costs nothing.
Task<void> Server::State::refuse(tcp::socket socket) {
  if (tls) co_return;
  Wire wire(std::move(socket), nullptr);
  co_await send_whole(wire, protocol_error(503, "too many connections"), 11, false);
}

Task<void> Server::State::start(tcp::socket socket, std::list<Slot>::iterator slot) {
  error_code error;
  const auto remote = socket.remote_endpoint(error);
  if (error) co_return;
  socket.set_option(tcp::no_delay(true), error);
  const std::string peer = remote.address().to_string();
  Wire wire(std::move(socket), tls ? &*tls : nullptr);
  slot->close = [&wire] { wire.close(); };
  if (wire.encrypted()) {
    wire.expires_after(kHandshake);
    if (co_await wire.handshake(net::ssl::stream_base::server)) {
      slot->close = {};
      co_return;
    }
  }
  co_await connection(wire, peer, *slot);
}

Task<void> Server::State::connection(Wire& wire, const std::string& peer, Slot& slot) {
  beast::flat_buffer buffer;
  while (!draining && co_await one_request(wire, buffer, peer, slot)) {
  }
  slot.close = {};
  wire.expires_after(kGoodbye);
  co_await wire.shutdown();
  if (wire.encrypted()) co_return;
  // What the client still sends is read and dropped for a moment: closing over it would reset the connection before
  // the client has read the answer.
  std::size_t dropped = 0;
  while (!draining && dropped < (std::size_t{1} << 20)) {
    buffer.clear();
    const auto [error, count] = co_await wire.read_some(buffer.prepare(kPiece));
    if (error) break;
    dropped += count;
  }
}

// Reads a request, lets it be answered and sends the answer. False when the connection is to be closed.
Task<bool> Server::State::one_request(Wire& wire, beast::flat_buffer& buffer, const std::string& peer, Slot& slot) {
  if (buffer.size() == 0) {  // between requests: nothing is owed
    wire.expires_after(options.idle_timeout);
    const auto [error, count] = co_await wire.read_some(buffer.prepare(kPiece));
    if (error) co_return false;
    buffer.commit(count);
  }
  slot.busy = true;
  const auto received = Clock::now();
  http::request_parser<http::string_body> parser;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  wire.expires_after(options.header_timeout);
  error_code error = co_await lathe::net::read_http(wire, buffer, parser, Until::kHeader);
  if (!error && parser.content_length() && *parser.content_length() > options.max_body_bytes)
    error = http::error::body_limit;
  if (!error && beast::iequals(parser.get()[http::field::expect], "100-continue"))
    error = co_await wire.write("HTTP/1.1 100 Continue\r\n\r\n", options.write_timeout);
  if (!error) {
    wire.expires_after(options.body_timeout);
    error = co_await lathe::net::read_http(wire, buffer, parser, Until::kMessage);
  }
  if (error) {
    if (const auto refusal = refusal_of(error, options)) co_await send_whole(wire, *refusal, 11, false);
    co_return false;
  }
  auto message = parser.release();
  Request request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  const std::size_t question = target.find('?');
  request.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) request.query = std::string(target.substr(question + 1));
  request.body = std::move(message.body());
  request.peer = peer;
  request.authorization = std::string(message[http::field::authorization]);
  request.host = std::string(message[http::field::host]);
  request.origin = std::string(message[http::field::origin]);
  request.accept_encoding = std::string(message[http::field::accept_encoding]);
  request.if_none_match = std::string(message[http::field::if_none_match]);
  request.received = received;
  const unsigned version = message.version();
  const bool keep_alive = message.keep_alive() && !draining;
  message = {};

  const auto exchange = std::make_shared<Exchange>(loop, std::move(request));
  slot.now = exchange;
  handler(exchange);
  const bool sent = co_await answer(wire, *exchange, version, keep_alive);
  exchange->set_notify({});  // the timer it wakes ended with answer()
  if (!sent) exchange->client_gone();
  if (done) done(*exchange);
  slot.now.reset();
  slot.busy = false;
  co_return sent&& keep_alive && !draining;
}

// Waits for the handler and sends what it says; false when the client has gone.
Task<bool> Server::State::answer(Wire& wire, Exchange& exchange, unsigned version, bool keep_alive) {
  net::steady_timer wake(io);
  exchange.set_notify([&wake] { wake.cancel(); });
  wire.expires_never();
  while (!exchange.begun()) {
    wake.expires_after(kClientCheck);
    co_await wake.async_wait(kAwait);
    if (exchange.gone() || wire.left()) co_return false;
  }
  if (!exchange.streams()) {
    const bool head_only = exchange.request().method == "HEAD";
    co_return co_await send_whole(wire, exchange.response(), version, keep_alive, head_only);
  }
  co_return co_await send_stream(wire, exchange, wake, version, keep_alive);
}

Task<bool> Server::State::send_whole(Wire& wire, const Response& response, unsigned version, bool keep_alive,
                                     bool head_only) {
  std::string text = head_text(response, version, keep_alive, response.body.size());
  if (!head_only) text += response.body;  // a HEAD request gets the length that the body would have
  co_return !co_await wire.write(text, options.write_timeout);
}

Task<bool> Server::State::send_stream(Wire& wire, Exchange& exchange, net::steady_timer& wake, unsigned version,
                                      bool keep_alive) {
  const bool chunked = version >= 11;  // an older client reads until the connection closes
  const std::string head = head_text(exchange.response(), version, keep_alive && chunked, std::nullopt);
  if (co_await wire.write(head, options.write_timeout)) co_return false;
  for (;;) {
    if (exchange.gone()) co_return false;
    if (exchange.has_unsent()) {
      std::string data = exchange.take_unsent();
      if (chunked) data = fmt::format("{:x}\r\n{}\r\n", data.size(), data);
      if (co_await wire.write(data, options.write_timeout)) co_return false;
    } else if (exchange.finished()) {
      break;
    } else {
      wire.expires_never();
      wake.expires_after(kClientCheck);
      co_await wake.async_wait(kAwait);
      if (wire.left()) co_return false;
    }
  }
  if (!chunked) co_return false;
  co_return !co_await wire.write("0\r\n\r\n", options.write_timeout);
}

}  // namespace lathe::serve
