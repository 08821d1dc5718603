// Boost.Asio and Beast appear in this file only: listeners, the coroutine of a connection, signals.
#include "serve/http/server.h"

#include <poll.h>

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
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <csignal>
#include <list>
#include <optional>

#include "base/error.h"
#include "base/log.h"

namespace lathe::serve {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = net::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr auto kAwait = net::as_tuple(net::use_awaitable);
constexpr std::chrono::milliseconds kClientCheck{250};  // how often a waiting connection looks for its client
constexpr std::chrono::seconds kHandshake{10}, kGoodbye{2};

using Plain = beast::tcp_stream;
using Tls = beast::ssl_stream<beast::tcp_stream>;

Plain& transport(Plain& stream) { return stream; }
Plain& transport(Tls& stream) { return stream.next_layer(); }

// The client has closed its side, or the connection is broken.
bool client_left(Plain& stream) {
  pollfd watched{stream.socket().native_handle(), POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

template <class Body>
void fill_head(http::response<Body>& message, const Response& response) {
  message.result(response.status);
  message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
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
  net::awaitable<void> accept_loop(tcp::acceptor& acceptor);
  template <class Stream>
  net::awaitable<void> connection(Stream stream, std::string peer, std::list<Slot>::iterator slot);
  template <class Stream>
  net::awaitable<bool> one_request(Stream& stream, beast::flat_buffer& buffer, const std::string& peer, Slot& slot);
  template <class Stream>
  net::awaitable<bool> answer(Stream& stream, Exchange& exchange, unsigned version, bool keep_alive);
  template <class Stream>
  net::awaitable<bool> send_stream(Stream& stream, Exchange& exchange, net::steady_timer& wake, unsigned version,
                                   bool keep_alive);
  template <class Stream>
  net::awaitable<bool> send_whole(Stream& stream, const Response& response, unsigned version, bool keep_alive,
                                  bool head_only = false);
  net::awaitable<void> start(tcp::socket socket, std::list<Slot>::iterator slot);
  net::awaitable<void> refuse(tcp::socket socket);
  net::awaitable<void> watch_signals();
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
  state_->signals.add(SIGINT);
  state_->signals.add(SIGTERM);
  net::co_spawn(state_->io, state_->watch_signals(), net::detached);
  state_->io.run();
}

net::awaitable<void> Server::State::watch_signals() {
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

net::awaitable<void> Server::State::accept_loop(tcp::acceptor& acceptor) {
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
net::awaitable<void> Server::State::refuse(tcp::socket socket) {
  if (tls) co_return;
  Plain stream(std::move(socket));
  co_await send_whole(stream, protocol_error(503, "too many connections"), 11, false);
}

net::awaitable<void> Server::State::start(tcp::socket socket, std::list<Slot>::iterator slot) {
  error_code error;
  const auto remote = socket.remote_endpoint(error);
  if (error) co_return;
  socket.set_option(tcp::no_delay(true), error);
  const std::string peer = remote.address().to_string();
  if (!tls) {
    co_await connection(Plain(std::move(socket)), peer, slot);
    co_return;
  }
  Tls stream(beast::tcp_stream(std::move(socket)), *tls);
  slot->close = [&] { transport(stream).close(); };
  transport(stream).expires_after(kHandshake);
  const auto [failed] = co_await stream.async_handshake(net::ssl::stream_base::server, kAwait);
  slot->close = {};
  if (!failed) co_await connection(std::move(stream), peer, slot);
}

template <class Stream>
net::awaitable<void> Server::State::connection(Stream stream, std::string peer, std::list<Slot>::iterator slot) {
  slot->close = [&stream] { transport(stream).close(); };
  beast::flat_buffer buffer;
  while (!draining && co_await one_request(stream, buffer, peer, *slot)) {
  }
  slot->close = {};
  if constexpr (std::is_same_v<Stream, Tls>) {
    transport(stream).expires_after(kGoodbye);
    co_await stream.async_shutdown(kAwait);
  } else {
    error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
    // What the client still sends is read and dropped for a moment: closing over it would reset the connection before
    // the client has read the answer.
    std::size_t dropped = 0;
    const auto until = Clock::now() + kGoodbye;
    while (!draining && dropped < (std::size_t{1} << 20) && Clock::now() < until && stream.socket().is_open()) {
      buffer.clear();
      stream.expires_at(until);
      const auto [error, count] = co_await stream.async_read_some(buffer.prepare(4096), kAwait);
      if (error) break;
      dropped += count;
    }
  }
}

// Reads a request, lets it be answered and sends the answer. False when the connection is to be closed.
template <class Stream>
net::awaitable<bool> Server::State::one_request(Stream& stream, beast::flat_buffer& buffer, const std::string& peer,
                                                Slot& slot) {
  if (buffer.size() == 0) {  // between requests: nothing is owed
    transport(stream).expires_after(options.idle_timeout);
    const auto [error, count] = co_await stream.async_read_some(buffer.prepare(4096), kAwait);
    if (error) co_return false;
    buffer.commit(count);
  }
  slot.busy = true;
  const auto received = Clock::now();
  http::request_parser<http::string_body> parser;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  transport(stream).expires_after(options.header_timeout);
  auto [error, count] = co_await http::async_read_header(stream, buffer, parser, kAwait);
  if (!error && parser.content_length() && *parser.content_length() > options.max_body_bytes)
    error = http::error::body_limit;
  if (!error && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, parser.get().version());
    std::tie(error, count) = co_await http::async_write(stream, go_on, kAwait);
  }
  if (!error && !parser.is_done()) {
    transport(stream).expires_after(options.body_timeout);
    std::tie(error, count) = co_await http::async_read(stream, buffer, parser, kAwait);
  }
  if (error) {
    if (error == http::error::header_limit) {
      co_await send_whole(stream, protocol_error(431, "the header is too large"), 11, false);
    } else if (error == http::error::body_limit) {
      const std::string message = fmt::format("the body is larger than {} bytes", options.max_body_bytes);
      co_await send_whole(stream, protocol_error(413, message), 11, false);
    } else if (error == beast::error::timeout) {
      // The stream closed itself; nothing can be said any more.
    } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      co_await send_whole(stream, protocol_error(400, "malformed HTTP: " + error.message()), 11, false);
    }
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
  const bool sent = co_await answer(stream, *exchange, version, keep_alive);
  if (!sent) exchange->client_gone();
  exchange->set_notify({});
  if (done) done(*exchange);
  slot.now.reset();
  slot.busy = false;
  co_return sent&& keep_alive && !draining;
}

// Waits for the handler and sends what it says; false when the client has gone.
template <class Stream>
net::awaitable<bool> Server::State::answer(Stream& stream, Exchange& exchange, unsigned version, bool keep_alive) {
  net::steady_timer wake(io);
  exchange.set_notify([&wake] { wake.cancel(); });
  transport(stream).expires_never();
  while (!exchange.begun()) {
    wake.expires_after(kClientCheck);
    co_await wake.async_wait(kAwait);
    if (exchange.gone() || client_left(transport(stream))) co_return false;
  }
  if (!exchange.streams()) {
    const bool head_only = exchange.request().method == "HEAD";
    co_return co_await send_whole(stream, exchange.response(), version, keep_alive, head_only);
  }
  co_return co_await send_stream(stream, exchange, wake, version, keep_alive);
}

template <class Stream>
net::awaitable<bool> Server::State::send_whole(Stream& stream, const Response& response, unsigned version,
                                               bool keep_alive, bool head_only) {
  http::response<http::string_body> message;
  message.version(version);
  fill_head(message, response);
  message.body() = response.body;
  message.keep_alive(keep_alive);
  message.prepare_payload();
  http::response_serializer<http::string_body> serializer(message);
  if (head_only) {  // with the length that the body would have
    transport(stream).expires_after(options.write_timeout);
    const auto [error, count] = co_await http::async_write_header(stream, serializer, kAwait);
    co_return !error;
  }
  // Piece by piece, so that the time-out is about progress and not about the size.
  while (!serializer.is_done()) {
    transport(stream).expires_after(options.write_timeout);
    const auto [error, count] = co_await http::async_write_some(stream, serializer, kAwait);
    if (error) co_return false;
  }
  co_return true;
}

template <class Stream>
net::awaitable<bool> Server::State::send_stream(Stream& stream, Exchange& exchange, net::steady_timer& wake,
                                                unsigned version, bool keep_alive) {
  const bool chunked = version >= 11;  // an older client reads until the connection closes
  http::response<http::empty_body> head;
  head.version(version);
  fill_head(head, exchange.response());
  head.keep_alive(keep_alive && chunked);
  if (chunked) head.chunked(true);
  http::response_serializer<http::empty_body> serializer(head);
  transport(stream).expires_after(options.write_timeout);
  const auto [failed, written] = co_await http::async_write_header(stream, serializer, kAwait);
  if (failed) co_return false;
  for (;;) {
    if (exchange.gone()) co_return false;
    if (exchange.has_unsent()) {
      const std::string data = exchange.take_unsent();
      transport(stream).expires_after(options.write_timeout);
      error_code error;
      std::size_t count = 0;
      if (chunked) {
        std::tie(error, count) = co_await net::async_write(stream, http::make_chunk(net::buffer(data)), kAwait);
      } else {
        std::tie(error, count) = co_await net::async_write(stream, net::buffer(data), kAwait);
      }
      if (error) co_return false;
    } else if (exchange.finished()) {
      break;
    } else {
      transport(stream).expires_never();
      wake.expires_after(kClientCheck);
      co_await wake.async_wait(kAwait);
      if (client_left(transport(stream))) co_return false;
    }
  }
  if (!chunked) co_return false;
  transport(stream).expires_after(options.write_timeout);
  const auto [error, count] = co_await net::async_write(stream, http::make_chunk_last(), kAwait);
  co_return !error;
}

}  // namespace lathe::serve
