#include "serve/assets/assets.h"

#include <algorithm>
#include <span>

namespace lathe::serve {
namespace {

// One row for each file of the page; there is no page yet.
constexpr std::span<const Asset> kAssets{};

}  // namespace

const Asset* find_asset(std::string_view path) {
  const auto it = std::find_if(kAssets.begin(), kAssets.end(), [&](const Asset& asset) { return asset.path == path; });
  return it == kAssets.end() ? nullptr : &*it;
}

}  // namespace lathe::serve
