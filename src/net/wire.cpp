#include "net/wire.h"

#include <poll.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <optional>

#include "base/error.h"

namespace lathe::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPiece = std::size_t{64} << 10;  // asked for at a time

template <bool kRequest>
Task<Code> read_message(Wire& wire, beast::flat_buffer& buffer, http::basic_parser<kRequest>& parser, Until until) {
  parser.eager(until == Until::kMessage);
  const auto there = [&] { return until == Until::kHeader ? parser.is_header_done() : parser.is_done(); };
  while (!there()) {
    if (buffer.size() > 0) {
      Code code;
      buffer.consume(parser.put(buffer.data(), code));
      if (code && code != http::error::need_more) co_return code;
      if (!code && until == Until::kPiece) break;
      if (!code) continue;
    }
    const auto [failed, count] = co_await wire.read_some(buffer.prepare(kPiece));
    if (failed == asio::error::eof) {
      if (!parser.got_some()) co_return http::error::end_of_stream;
      Code code;
      parser.put_eof(code);
      co_return code;
    }
    if (failed) co_return failed;
    buffer.commit(count);
  }
  co_return Code();
}

}  // namespace

struct Wire::Streams {
  beast::tcp_stream& tcp() { return secure ? secure->next_layer() : *plain; }

  std::optional<beast::tcp_stream> plain;
  std::optional<beast::ssl_stream<beast::tcp_stream>> secure;
};

Wire::Wire(asio::ip::tcp::socket socket, asio::ssl::context* tls) : streams_(std::make_unique<Streams>()) {
  if (tls != nullptr) {
    streams_->secure.emplace(beast::tcp_stream(std::move(socket)), *tls);
  } else {
    streams_->plain.emplace(std::move(socket));
  }
}

Wire::~Wire() = default;

bool Wire::encrypted() const { return streams_->secure.has_value(); }

Task<Code> Wire::connect(asio::ip::tcp::resolver::results_type addresses) {
  const auto [code, endpoint] = co_await streams_->tcp().async_connect(addresses, kAwait);
  co_return code;
}

Task<Code> Wire::handshake(asio::ssl::stream_base::handshake_type side, const std::string& host) {
  auto& secure = *streams_->secure;
  if (side == asio::ssl::stream_base::client) {
    secure.set_verify_mode(asio::ssl::verify_peer);
    SSL* const tls = secure.native_handle();
    Code not_an_address;
    asio::ip::make_address(host, not_an_address);
    const bool known = not_an_address
                           ? SSL_set1_host(tls, host.c_str()) == 1 && SSL_set_tlsext_host_name(tls, host.c_str()) == 1
                           : X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
    if (!known) throw Error("is no name that TLS can ask for", host);
  }
  const auto [code] = co_await secure.async_handshake(side, kAwait);
  co_return code;
}

long Wire::certificate_error() const {
  return encrypted() ? SSL_get_verify_result(streams_->secure->native_handle()) : X509_V_OK;
}

Task<std::pair<Code, std::size_t>> Wire::read_some(asio::mutable_buffer into) {
  if (encrypted()) {
    const auto [code, count] = co_await streams_->secure->async_read_some(into, kAwait);
    co_return std::pair(code, count);
  }
  const auto [code, count] = co_await streams_->plain->async_read_some(into, kAwait);
  co_return std::pair(code, count);
}

Task<Code> Wire::write(std::string_view bytes, std::chrono::milliseconds silence) {
  while (!bytes.empty()) {
    expires_after(silence);
    const asio::const_buffer rest(bytes.data(), bytes.size());
    Code code;
    std::size_t count = 0;
    if (encrypted()) {
      std::tie(code, count) = co_await streams_->secure->async_write_some(rest, kAwait);
    } else {
      std::tie(code, count) = co_await streams_->plain->async_write_some(rest, kAwait);
    }
    if (code) co_return code;
    bytes.remove_prefix(count);
  }
  co_return Code();
}

Task<void> Wire::shutdown() {
  if (encrypted()) {
    co_await streams_->secure->async_shutdown(kAwait);
  } else {
    Code ignored;
    streams_->plain->socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
}

void Wire::expires_after(std::chrono::milliseconds time) { streams_->tcp().expires_after(time); }
void Wire::expires_never() { streams_->tcp().expires_never(); }
void Wire::cancel() { streams_->tcp().cancel(); }
void Wire::close() { streams_->tcp().close(); }

bool Wire::left() const {
  pollfd watched{streams_->tcp().socket().native_handle(), POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

Task<Code> read_http(Wire& wire, beast::flat_buffer& buffer, http::basic_parser<true>& request, Until until) {
  return read_message(wire, buffer, request, until);
}

Task<Code> read_http(Wire& wire, beast::flat_buffer& buffer, http::basic_parser<false>& response, Until until) {
  return read_message(wire, buffer, response, until);
}

}  // namespace lathe::net
