#include "serve/assets/assets.h"

#include <algorithm>

namespace lathe::serve {
namespace {

// The page asks nothing of other hosts, runs nothing but its own script, and stands in nobody's frame: what a model
// writes cannot reach out through it.
constexpr std::pair<const char*, const char*> kSecurity[] = {
    {"Content-Security-Policy",
     "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

void add_security(Response& response) {
  for (const auto& [name, value] : kSecurity) response.headers.emplace_back(name, value);
}

// Whether a comma-separated header holds `value`, with parameters or without.
bool lists(std::string_view header, std::string_view value) {
  while (!header.empty()) {
    std::string_view entry = header.substr(0, header.find(','));
    header.remove_prefix(std::min(header.size(), entry.size() + 1));
    const bool refused = entry.find(";q=0") != std::string_view::npos && entry.find(";q=0.") == std::string_view::npos;
    entry = entry.substr(0, entry.find(';'));
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (entry.starts_with("W/")) entry.remove_prefix(2);
    if (!refused && entry == value) return true;
  }
  return false;
}

}  // namespace

const Asset* find_asset(std::string_view path) {
  for (const Asset& asset : page_assets()) {
    if (asset.path == path) return &asset;
  }
  return nullptr;
}

Response asset_response(const Asset& asset, const Request& request) {
  Response response;
  response.content_type = asset.content_type;
  response.headers = {{"ETag", std::string(asset.etag)},
                      {"Cache-Control", asset.immutable ? "public, max-age=31536000, immutable" : "no-cache"},
                      {"Vary", "Accept-Encoding"}};
  add_security(response);
  if (lists(request.if_none_match, asset.etag)) {
    response.status = 304;
  } else if (!asset.gzip.empty() && lists(request.accept_encoding, "gzip")) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = asset.gzip;
  } else {
    response.body = asset.bytes;
  }
  return response;
}

Response no_page_response() {
  Response response;
  response.status = 404;
  response.content_type = "text/plain; charset=utf-8";
  response.body =
      "The API is under /v1; this lathe was built without its web page: with node 18, npm and a network, run `make "
      "page` "
      "and start it again.\n";
  add_security(response);
  return response;
}

}  // namespace lathe::serve
