// Cuts a normalized text into the words that the model sees one at a time: the pre-tokenizer steps of a TokenizerSpec,
// compiled. Each step cuts the pieces of the step before it.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace lathe::text {

// Views into the text or into `owned`.
struct Words {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

class PreTokenizer {
 public:
  PreTokenizer(const std::vector<PreTokenizerStep>& steps, std::string_view where);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  bool empty() const { return steps_.empty(); }
  // `first` says that `text` is the start of the whole input. `words` receives no empty view.
  void split(std::string_view text, bool first, Words& words) const;

 private:
  struct Step;
  std::vector<Step> steps_;
};

// The steps that GGUF's `tokenizer.ggml.pre` names (as of llama.cpp in 2026), or nullopt for an unknown name.
std::optional<std::vector<PreTokenizerStep>> pre_tokenizer_by_name(std::string_view name);
// A name with these steps, or "" when there is none.
std::string pre_tokenizer_name(const std::vector<PreTokenizerStep>& steps);

}  // namespace lathe::text
