// Mirostat (Basu et al. 2021): keeps the surprise of the text near a target by choosing anew for every token how many
// candidates stay, and correcting itself by the surprise of what was drawn.
#pragma once

#include "engine/sampling/candidates.h"

namespace lathe::engine::sampling {

class Mirostat {
 public:
  // `version` 1 or 2; `target` surprise in bits per token; `rate` of correction.
  Mirostat(int version, double target, double rate)
      : version_(version), target_(target), rate_(rate), most_(2 * target) {}

  // Cuts sorted candidates, at least one stays. Version 1 (Algorithm 1) fits Zipf's law to the likeliest tokens and
  // computes how many give the surprise wanted, with `vocabulary` tokens in all; version 2 (Algorithm 2) drops tokens
  // more surprising than its bound.
  void cut(Candidates& candidates, std::size_t vocabulary, double temperature);
  // The token that was drawn from what cut() left. Its surprise is that among the candidates before the cut.
  void observe(text::TokenId id);

 private:
  int version_;
  double target_, rate_;
  double most_;  // the paper's mu, in bits
  Candidates seen_;
  std::vector<double> surprise_;  // of seen_, in bits
};

}  // namespace lathe::engine::sampling
