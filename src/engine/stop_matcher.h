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
  // The end of generation: what was held back.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace lathe::engine
