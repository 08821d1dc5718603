// Static files inside the program: what GET answers with for the page.
#pragma once

#include <string_view>

namespace lathe::serve {

struct Asset {
  std::string_view path;  // "/", "/index.js", ...
  std::string_view content_type;
  std::string_view bytes;
};

// Null when there is none of that path.
const Asset* find_asset(std::string_view path);

}  // namespace lathe::serve
