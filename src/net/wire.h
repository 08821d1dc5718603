// A TCP connection, plain or under TLS, as the server and the client use it: every operation is a coroutine, and what
// is read and written are pieces of memory, so that the templates below are compiled once (wire.cpp).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream_base.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace lathe::net {

using Code = boost::system::error_code;
template <class T>
using Task = boost::asio::awaitable<T>;

class Wire {
 public:
  // Under TLS when `tls` is not null, once handshake() is done.
  Wire(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  bool encrypted() const;
  // The side that connects: to the first address that answers.
  Task<Code> connect(boost::asio::ip::tcp::resolver::results_type addresses);
  // As a client, the other side's certificate has to be for `host`; a server gives none.
  Task<Code> handshake(boost::asio::ssl::stream_base::handshake_type side, const std::string& host = {});
  // What is wrong with the other side's certificate, of X509_V_ERR_*; 0: nothing that handshake() has seen.
  long certificate_error() const;
  Task<std::pair<Code, std::size_t>> read_some(boost::asio::mutable_buffer into);
  // Everything; `silence` is how long the other side may take nothing.
  Task<Code> write(std::string_view bytes, std::chrono::milliseconds silence);
  // Says goodbye: ends TLS in form, or closes the sending side.
  Task<void> shutdown();

  // What is waited for, or will be, ends with beast::error::timeout then.
  void expires_after(std::chrono::milliseconds time);
  void expires_never();
  void cancel();
  void close();
  // The other side has closed its half, or the connection is broken.
  bool left() const;

 private:
  struct Streams;
  std::unique_ptr<Streams> streams_;
};

// Feeds the parser from `buffer`, which is filled from the wire at need, until the header or the whole message is
// there. The parser's own errors come back, http::error::end_of_stream when nothing came at all.
enum class Until : unsigned char { kHeader, kPiece, kMessage };
Task<Code> read_http(Wire& wire, boost::beast::flat_buffer& buffer, boost::beast::http::basic_parser<true>& request,
                     Until until);
Task<Code> read_http(Wire& wire, boost::beast::flat_buffer& buffer, boost::beast::http::basic_parser<false>& response,
                     Until until);

}  // namespace lathe::net
