// What happens to a text before it is cut into words: the normalizer steps of a TokenizerSpec, compiled.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace lathe::text {

class Normalizer {
 public:
  Normalizer(const std::vector<NormalizerStep>& steps, std::string_view where);
  ~Normalizer();
  Normalizer(Normalizer&&) noexcept;

  bool empty() const { return steps_.empty(); }
  // Throws Error when the steps would make a hostile amount of the text.
  std::string apply(std::string_view text) const;

 private:
  struct Step;
  std::vector<Step> steps_;
  std::string where_;
};

}  // namespace lathe::text
