#include "net/url.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace lathe::net {
namespace {

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw UsageError(std::string(why), std::string(text), "expected http://host/path or https://host/path");
}

bool has_prefix_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

std::string Url::text() const {
  const bool usual = port == (tls ? "443" : "80");
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}{}{}{}", tls ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "", usual ? "" : ":",
                     usual ? "" : port, target);
}

Url parse_url(std::string_view text) {
  const auto bad = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; };
  if (std::any_of(text.begin(), text.end(), bad)) refuse(text, "an address has no spaces or control characters");
  Url url;
  std::string_view rest = text;
  if (has_prefix_ignoring_case(rest, "https://")) {
    url.tls = true;
    rest.remove_prefix(8);
  } else if (has_prefix_ignoring_case(rest, "http://")) {
    rest.remove_prefix(7);
  } else {
    refuse(text, "is no http or https address");
  }
  rest = rest.substr(0, rest.find('#'));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  url.target = std::string(rest.substr(end));
  if (url.target.empty() || url.target[0] == '?') url.target.insert(0, "/");
  if (authority.find('@') != std::string_view::npos) refuse(text, "a user name in an address is not supported");
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) refuse(text, "has an unfinished [address]");
    url.host = std::string(authority.substr(1, close - 1));
    authority.remove_prefix(close + 1);
    if (!authority.empty() && authority[0] != ':') refuse(text, "has something behind its [address]");
    if (!authority.empty()) authority.remove_prefix(1);
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    url.host = std::string(authority.substr(0, colon));
    authority.remove_prefix(std::min(colon + 1, authority.size()));
  }
  if (url.host.empty()) refuse(text, "names no host");
  url.port = authority.empty() ? (url.tls ? "443" : "80") : std::string(authority);
  const bool number = url.port.size() <= 5 && url.port.find_first_not_of("0123456789") == std::string::npos;
  if (!number || std::stoi(url.port) > 65535 || std::stoi(url.port) == 0) refuse(text, "has no port of 1 to 65535");
  return url;
}

Url resolve(const Url& base, std::string_view location) {
  if (location.find("://") != std::string_view::npos) return parse_url(location);
  if (location.starts_with("//")) return parse_url(fmt::format("{}:{}", base.tls ? "https" : "http", location));
  Url url = base;
  location = location.substr(0, location.find('#'));
  if (location.starts_with('/')) {
    url.target = std::string(location);
  } else {
    const std::string path = base.target.substr(0, base.target.find('?'));
    url.target = path.substr(0, path.rfind('/') + 1) + std::string(location);
  }
  return parse_url(url.text());  // looks at the characters of what came in
}

std::string file_name(const Url& url) {
  const std::string path = url.target.substr(0, url.target.find('?'));
  const std::string segment = path.substr(path.rfind('/') + 1);
  std::string name;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    const bool escape =
        segment[i] == '%' && i + 2 < segment.size() && hex_digit(segment[i + 1]) >= 0 && hex_digit(segment[i + 2]) >= 0;
    if (escape) {
      name += static_cast<char>(hex_digit(segment[i + 1]) * 16 + hex_digit(segment[i + 2]));
      i += 2;
    } else {
      name += segment[i];
    }
  }
  const bool usable =
      !name.empty() && name[0] != '.' && name.size() <= 200 && std::none_of(name.begin(), name.end(), [](char c) {
        return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
      });
  return usable ? name : "";
}

}  // namespace lathe::net
