#include "cache/source_kv.h"

#include <utility>

namespace lathe::cache {

SourceKv::SourceKv(std::unique_ptr<PagedKv> encoded) : encoded_(std::move(encoded)) {
  for (std::uint32_t layer = 0; layer < encoded_->layers(); ++layer) {
    const auto all = encoded_->segments(layer, 0);
    runs_.push_back(all.front());
  }
}

}  // namespace lathe::cache
