// Asynchronous operations, waited for one by one: only those can time out and be cancelled.
#include "net/http_request.h"

#include <openssl/x509_vfy.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/write.hpp>
#include <optional>
#include <sstream>

#include "net/wire.h"

namespace lathe::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

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
    if (url.tls) tls_.set_default_verify_paths();
  }

  void ask(const HttpAsk& asked) {
    connect();
    http::request<http::empty_body> request;
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
    if (asked.method != "GET") request.content_length(asked.body.size());
    std::ostringstream head;
    head << request.base();
    const std::string text = std::move(head).str() + asked.body;
    wait("send the request", wire_.write(text, silence_));
    wait("read the answer", read_http(wire_, buffer_, parser_, Until::kHeader));
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
      wait("read the body", read_http(wire_, buffer_, parser_, Until::kPiece));
      const std::size_t got = piece_.size() - parser_.get().body().size;
      if (got > 0) return std::span<const char>(piece_).first(got);
    }
    return {};
  }

 private:
  void connect() {
    wait("find the host", resolve());
    wait("connect", wire_.connect(addresses_));
    if (wire_.encrypted()) wait("agree on TLS", wire_.handshake(asio::ssl::stream_base::client, url_.host));
  }

  Task<Code> resolve() {
    const auto [code, found] =
        co_await resolver_.async_resolve(url_.host, url_.port, asio::as_tuple(asio::use_awaitable));
    addresses_ = found;
    co_return code;
  }

  // Runs an operation to its end.
  void wait(std::string_view action, Task<Code> task) {
    std::optional<Code> result;
    std::exception_ptr failure;
    wire_.expires_after(silence_);
    asio::co_spawn(io_, std::move(task), [&](std::exception_ptr thrown, Code code) {
      failure = std::move(thrown);
      result = code;
    });
    io_.restart();
    while (!result) {
      io_.run_one_for(kGlance);
      if (cancel_ == nullptr || !cancel_->cancelled() || result) continue;
      resolver_.cancel();
      wire_.cancel();
      io_.run();  // every handler that refers to this frame has been called
      throw Cancelled();
    }
    if (failure) std::rethrow_exception(failure);
    const Code code = *result;
    // The end of a body without a length is the end of the connection; some servers do not end TLS in form.
    if (!code || code == http::error::need_buffer) return;
    if (code == http::error::end_of_stream && parser_.is_done()) return;
    std::string problem = code == beast::error::timeout ? fmt::format("nothing came for {} seconds", silence_.count())
                                                        : fmt::format("cannot {}: {}", action, code.message());
    if (const long refused = wire_.certificate_error(); refused != X509_V_OK) throw certificate_refused(refused);
    // Answers that are no HTTP, and what is no TLS, stay as wrong as they are however often one asks.
    const bool tls = code.category() == asio::error::get_ssl_category();
    const bool answer = code.category() == http::make_error_code(http::error::bad_version).category() &&
                        code != http::error::end_of_stream && code != http::error::partial_message;
    if (tls || answer) throw Error(std::move(problem), url_.text());
    throw ConnectionError(std::move(problem), url_.text());
  }

  // A certificate stays as wrong as it is however often one asks.
  Error certificate_refused(long reason) const {
    const auto because = [&](std::string_view problem, std::string advice) {
      return Error(fmt::format("the server's certificate {}", problem), url_.text(), std::move(advice));
    };
    switch (reason) {
      case X509_V_ERR_CERT_HAS_EXPIRED:
        return because("has expired", "if this machine's clock is right, the server needs a new one");
      case X509_V_ERR_CERT_NOT_YET_VALID:
        return because("is not valid yet", "check this machine's clock");
      case X509_V_ERR_HOSTNAME_MISMATCH:
      case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return because(fmt::format("is that of another host than {}", url_.host),
                       "give the address with the name that the certificate is for");
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return because("is signed by nobody this machine trusts",
                       "if you trust its authority, name that one's certificate in SSL_CERT_FILE");
      default:
        return because(fmt::format("is refused: {}", X509_verify_cert_error_string(reason)), "");
    }
  }

  Url url_;
  const CancelToken* cancel_;
  std::chrono::seconds silence_;
  asio::io_context io_;
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  asio::ip::tcp::resolver resolver_;
  asio::ip::tcp::resolver::results_type addresses_;
  Wire wire_{asio::ip::tcp::socket(io_), url_.tls ? &tls_ : nullptr};
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
