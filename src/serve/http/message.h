// HTTP requests and responses as the rest of the room sees them: plain data, free of the library that moves them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::serve {

struct Request {
  std::string method;  // "GET", "POST", ...
  std::string path;    // without the query
  std::string query;
  std::string body;
  std::string peer;           // address of the client
  std::string authorization;  // the header, as sent
  std::string host, origin;   // headers, as sent
  std::string accept_encoding, if_none_match;
  std::chrono::steady_clock::time_point received;
};

struct Response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

}  // namespace lathe::serve
