// Finds stop strings in streamed text, holding back what might become one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe::engine {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Adds text; returns what can be shown now. After a stop string appeared stopped() is true and nothing more comes.
  std::string push(std::string_view text);
  // The same for the last text in which stop strings count; its last `behind` bytes, and whatever follows, are shown as
  // they are.
  std::string push_last(std::string_view text, std::size_t behind);
  // The end of generation: what was held back.
  std::string flush();
  bool stopped() const { return stopped_; }
  // What is held back.
  const std::string& held() const { return held_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace lathe::engine
