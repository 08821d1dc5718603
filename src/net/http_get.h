// One HTTP GET, its body read a piece at a time: what downloads are made of. Plain or over TLS, whose certificates are
// checked against the system's; redirects are the caller's business.
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

class HttpGet {
 public:
  // Connects, asks with `fields` beside the usual ones, and reads the header. `silence` is how long nothing may come
  // before it is a ConnectionError. Throws Cancelled when `cancel` (may be null) says so.
  HttpGet(const Url& url, const std::map<std::string, std::string>& fields, const CancelToken* cancel,
          std::chrono::seconds silence = std::chrono::seconds(30));
  ~HttpGet();
  HttpGet(const HttpGet&) = delete;
  HttpGet& operator=(const HttpGet&) = delete;

  const HttpHeader& header() const;
  // More of the body, valid until the next call; empty when it is complete. A body cut short is a ConnectionError.
  std::span<const char> read();

 private:
  class Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace lathe::net
