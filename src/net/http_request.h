// One HTTP request, the body of its answer read a piece at a time: what downloads and clients are made of. Plain or
// over TLS, whose certificates are checked against the system's; redirects are the caller's business.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/cancel.h"
#include "base/error.h"
#include "net/url.h"

namespace lathe::net {

// The connection failed, broke or fell silent: trying again may help, unlike with any other Error.
class ConnectionError : public Error {
 public:
  using Error::Error;
};

struct HttpHeader {
  unsigned status = 0;
  std::map<std::string, std::string> fields;  // by lower-case name; of a repeated one the last
  const std::string* field(const std::string& name) const;
};

// What is asked, beside the address.
struct HttpAsk {
  std::string method = "GET";
  std::map<std::string, std::string> fields = {};  // beside the usual ones
  std::string body = {};
};

class HttpRequest {
 public:
  // Connects, asks, and reads the header. `silence` is how long nothing may come before it is a ConnectionError. Throws
  // Cancelled when `cancel` (may be null) says so.
  HttpRequest(const Url& url, const HttpAsk& ask, const CancelToken* cancel,
              std::chrono::seconds silence = std::chrono::seconds(30));
  ~HttpRequest();
  HttpRequest(const HttpRequest&) = delete;
  HttpRequest& operator=(const HttpRequest&) = delete;

  const HttpHeader& header() const;
  // More of the body, valid until the next call; empty when it is complete. A body cut short is a ConnectionError.
  std::span<const char> read();

 private:
  class Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace lathe::net
