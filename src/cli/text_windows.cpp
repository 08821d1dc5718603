#include "cli/text_windows.h"

#include <algorithm>

#include "engine/sampler.h"

namespace lathe::cli {

std::vector<Window> plain_windows(const std::vector<text::TokenId>& ids, std::size_t length, text::TokenId bos) {
  std::vector<Window> windows;
  const std::size_t fresh = bos == text::kNoToken ? length : length - 1;
  for (std::size_t at = 0; at < ids.size(); at += fresh) {
    Window window;
    if (bos != text::kNoToken) window.read.push_back(bos);
    window.read.insert(window.read.end(), ids.begin() + static_cast<std::ptrdiff_t>(at),
                       ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + fresh)));
    if (window.read.size() < 2) break;
    window.expected.assign(window.read.begin() + 1, window.read.end());
    window.read.pop_back();
    windows.push_back(std::move(window));
  }
  return windows;
}

std::vector<Window> peer_windows(const std::vector<text::TokenId>& ids, std::size_t length, text::TokenId bos) {
  std::vector<Window> windows;
  for (std::size_t at = 0; at + length <= ids.size(); at += length) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at), end = begin + static_cast<std::ptrdiff_t>(length);
    Window window{{begin, end - 1}, length / 2, {begin + static_cast<std::ptrdiff_t>(length / 2) + 1, end}};
    if (bos != text::kNoToken) window.read.front() = bos;
    windows.push_back(std::move(window));
  }
  return windows;
}

double negative_log_likelihood(std::span<const float> logits, text::TokenId id) {
  return engine::log_sum_exp(logits) - static_cast<double>(logits[static_cast<std::size_t>(id)]);
}

}  // namespace lathe::cli
