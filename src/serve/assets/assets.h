// The web page inside the program: the static files that GET answers with, built from ui/ (docs/page.md).
#pragma once

#include <span>
#include <string_view>

#include "serve/http/message.h"

namespace lathe::serve {

struct Asset {
  std::string_view path;  // "/", "/assets/index-1a2b3c.js", ...
  std::string_view content_type;
  std::string_view etag;  // quotes included
  bool immutable;         // what lies at this path never changes
  std::string_view bytes;
  std::string_view gzip;  // the same, compressed; may be empty
};

// Every file of the page; empty in a program built without it. Generated.
std::span<const Asset> page_assets();

// Null when there is none of that path, which is compared byte by byte: nothing is ever looked up in a file system.
const Asset* find_asset(std::string_view path);

// The answer to a GET: compressed for clients that take it, 304 for one that has it already.
Response asset_response(const Asset& asset, const Request& request);
// What / says in a program without the page.
Response no_page_response();

}  // namespace lathe::serve
