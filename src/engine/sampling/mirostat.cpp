#include "engine/sampling/mirostat.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine::sampling {
namespace {

constexpr std::size_t kFitted = 100;  // the paper's m: tokens that Zipf's exponent is estimated from

// Least squares for log p_i = constant - s log i over neighbouring ranks (section 4.1, equation 30).
double zipf_exponent(std::span<const double> surprise) {
  const std::size_t m = std::min(kFitted, surprise.size());
  double above = 0, below = 0;
  for (std::size_t i = 0; i + 1 < m; ++i) {
    const double step = std::log2(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    const double drop = surprise[i + 1] - surprise[i];  // log2(p_i / p_i+1)
    if (!std::isfinite(drop)) break;
    above += step * drop;
    below += step * step;
  }
  return below > 0 ? above / below : 0;
}

// How many tokens of a Zipf distribution have surprise `most` (Algorithm 1).
double zipf_count(double exponent, double most, double vocabulary) {
  if (exponent <= 0) return vocabulary;  // flat: every token is as surprising as the next
  const double epsilon = exponent - 1;
  // At an exponent of 1 the fraction is 0/0; its limit is 1 / ln N.
  const double fraction =
      std::abs(epsilon) < 1e-6 ? 1 / std::log(vocabulary) : epsilon / (1 - std::pow(vocabulary, -epsilon));
  return std::pow(fraction * std::exp2(most), 1 / exponent);
}

}  // namespace

void Mirostat::cut(Candidates& candidates, std::size_t vocabulary, double temperature) {
  seen_ = candidates;
  surprise_ = probabilities(candidates, temperature);
  for (double& p : surprise_) p = -std::log2(p);
  std::size_t keep = 1;
  if (version_ == 1) {
    const double count = zipf_count(zipf_exponent(surprise_), most_, static_cast<double>(vocabulary));
    if (count >= static_cast<double>(candidates.size())) {
      keep = candidates.size();
    } else if (count > 1) {  // false for NaN too
      keep = static_cast<std::size_t>(std::lround(count));
    }
  } else {
    while (keep < candidates.size() && surprise_[keep] <= most_) ++keep;
  }
  candidates.resize(keep);
}

void Mirostat::observe(text::TokenId id) {
  const auto drawn = std::find_if(seen_.begin(), seen_.end(), [&](const Candidate& one) { return one.id == id; });
  const double surprise = surprise_[static_cast<std::size_t>(drawn - seen_.begin())];
  most_ -= rate_ * (surprise - target_);
}

}  // namespace lathe::engine::sampling
