// http and https addresses in their parts.
#pragma once

#include <string>
#include <string_view>

namespace lathe::net {

struct Url {
  bool tls = false;
  std::string host;    // without the brackets of an IPv6 address
  std::string port;    // "80" or "443" when the address names none
  std::string target;  // path and query, at least "/"

  std::string text() const;
};

// Throws UsageError for anything but http://host[:port][/...] and https; a fragment (#...) is left out, a user name is
// refused.
Url parse_url(std::string_view text);

// Where a Location header points, seen from `base`: an address, "//host/path", "/path" or "path".
Url resolve(const Url& base, std::string_view location);

// The file that an address names: its last path segment with %XX decoded. Empty when there is none that can be a file
// name (no slash, no NUL, not hidden).
std::string file_name(const Url& url);

}  // namespace lathe::net
