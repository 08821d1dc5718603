// Beast's asynchronous operations, waited for one by one: only those can time out and be cancelled.
#include "net/http_request.h"

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <optional>

namespace lathe::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Code = boost::system::error_code;

constexpr std::chrono::milliseconds kGlance{100};  // between looks at the cancel token
constexpr std::size_t kPiece = std::size_t{256} << 10;
constexpr std::uint32_t kMostHeader = 64 << 10;

}  // namespace

const std::string* HttpHeader::field(const std::string& name) const {
  const auto it = fields.find(name);
  return it == fields.end() ? nullptr : &it->second;
}

class HttpRequest::Connection {
 public:
  Connection(const Url& url, const CancelToken* cancel, std::chrono::seconds silence)
      : url_(url), cancel_(cancel), silence_(silence), resolver_(io_) {
    parser_.body_limit(boost::none);
    parser_.header_limit(kMostHeader);
    if (url.tls) {
      tls_.set_default_verify_paths();
      secure_.emplace(io_, tls_);
    } else {
      plain_.emplace(io_);
    }
  }

  void ask(const HttpAsk& asked) {
    connect();
    http::request<http::string_body> request;
    request.version(11);
    request.method_string(asked.method);
    request.target(url_.target);
    const bool usual = url_.port == (url_.tls ? "443" : "80");
    const std::string host = url_.host.find(':') == std::string::npos ? url_.host : "[" + url_.host + "]";
    request.set(http::field::host, usual ? host : host + ":" + url_.port);
    request.set(http::field::user_agent, "lathe");
    request.set(http::field::accept, "*/*");
    request.set(http::field::accept_encoding, "identity");
    request.set(http::field::connection, "close");
    for (const auto& [name, value] : asked.fields) request.set(name, value);
    if (asked.method != "GET") {
      request.body() = asked.body;
      request.prepare_payload();
    }
    on_stream([&](auto& stream) {
      wait("send the request", [&](auto done) { http::async_write(stream, request, done); });
      wait("read the answer", [&](auto done) { http::async_read_header(stream, buffer_, parser_, done); });
    });
    header_.status = parser_.get().result_int();
    for (const auto& field : parser_.get()) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
      header_.fields[name] = std::string(field.value());
    }
  }

  const HttpHeader& header() const { return header_; }

  std::span<const char> read() {
    while (!parser_.is_done()) {
      parser_.get().body().data = piece_.data();
      parser_.get().body().size = piece_.size();
      on_stream([&](auto& stream) {
        wait("read the body", [&](auto done) { http::async_read_some(stream, buffer_, parser_, done); });
      });
      const std::size_t got = piece_.size() - parser_.get().body().size;
      if (got > 0) return std::span<const char>(piece_).first(got);
    }
    return {};
  }

 private:
  template <class Body>
  void on_stream(const Body& body) {
    if (secure_) {
      body(*secure_);
    } else {
      body(*plain_);
    }
  }
  beast::tcp_stream& tcp() { return secure_ ? beast::get_lowest_layer(*secure_) : *plain_; }

  void connect() {
    asio::ip::tcp::resolver::results_type addresses;
    wait("find the host", [&](auto done) {
      resolver_.async_resolve(url_.host, url_.port, [&addresses, done](Code code, auto found) mutable {
        addresses = std::move(found);
        done(code);
      });
    });
    wait("connect",
         [&](auto done) { tcp().async_connect(addresses, [done](Code code, const auto&) mutable { done(code); }); });
    if (!secure_) return;
    secure_->set_verify_mode(asio::ssl::verify_peer);
    secure_->set_verify_callback(asio::ssl::host_name_verification(url_.host));
    if (SSL_set_tlsext_host_name(secure_->native_handle(), url_.host.c_str()) != 1)
      throw Error("is no name that TLS can ask for", url_.host);
    wait("agree on TLS", [&](auto done) { secure_->async_handshake(asio::ssl::stream_base::client, done); });
  }

  // Starts an operation and runs it to its end.
  template <class Start>
  void wait(std::string_view action, const Start& start) {
    std::optional<Code> result;
    tcp().expires_after(silence_);
    start([&result](Code code, auto&&...) { result = code; });
    io_.restart();
    while (!result) {
      io_.run_one_for(kGlance);
      if (cancel_ == nullptr || !cancel_->cancelled() || result) continue;
      resolver_.cancel();
      tcp().cancel();
      io_.run();  // every handler that refers to this frame has been called
      throw Cancelled();
    }
    const Code code = *result;
    // The end of a body without a length is the end of the connection; some servers do not end TLS in form.
    if (!code || code == http::error::need_buffer) return;
    if (code == http::error::end_of_stream && parser_.is_done()) return;
    std::string problem = code == beast::error::timeout ? fmt::format("nothing came for {} seconds", silence_.count())
                                                        : fmt::format("cannot {}: {}", action, code.message());
    // Answers that are no HTTP, and certificates, stay as wrong as they are however often one asks.
    const bool certificate = code.category() == asio::error::get_ssl_category();
    const bool answer = code.category() == http::make_error_code(http::error::bad_version).category() &&
                        code != http::error::end_of_stream && code != http::error::partial_message;
    if (certificate || answer) throw Error(std::move(problem), url_.text());
    throw ConnectionError(std::move(problem), url_.text());
  }

  Url url_;
  const CancelToken* cancel_;
  std::chrono::seconds silence_;
  asio::io_context io_;
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  asio::ip::tcp::resolver resolver_;
  std::optional<beast::tcp_stream> plain_;
  std::optional<beast::ssl_stream<beast::tcp_stream>> secure_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  HttpHeader header_;
  std::array<char, kPiece> piece_{};
};

HttpRequest::HttpRequest(const Url& url, const HttpAsk& ask, const CancelToken* cancel, std::chrono::seconds silence)
    : connection_(std::make_unique<Connection>(url, cancel, silence)) {
  connection_->ask(ask);
}

HttpRequest::~HttpRequest() = default;

const HttpHeader& HttpRequest::header() const { return connection_->header(); }

std::span<const char> HttpRequest::read() { return connection_->read(); }

}  // namespace lathe::net
