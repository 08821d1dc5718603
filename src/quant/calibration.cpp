#include "quant/calibration.h"

#include "base/error.h"
#include "base/log.h"

namespace lathe::quant {

Sequences calibration_sequences(std::string_view text, const std::string& source, const text::Tokenizer& tokenizer,
                                const CalibrationOptions& options) {
  const text::SpecialTokens& special = tokenizer.special();
  const bool bos = special.add_bos && special.bos != text::kNoToken;
  const std::size_t fresh = options.tokens - (bos ? 1 : 0);
  const std::vector<text::TokenId> ids =
      tokenizer.encode(std::string(text), {.add_special = false, .parse_special = false});
  const std::size_t available = ids.size() / fresh;
  if (available == 0) {
    throw Error(fmt::format("has {} tokens, too few for one sequence of {}", ids.size(), options.tokens), source,
                "give a longer text with --calibration, or shorter sequences with --calibration-tokens");
  }
  const std::size_t count = std::min<std::size_t>(options.sequences, available);
  if (count < options.sequences) {
    log_warning("{}: enough text for {} sequences of {} tokens, not {}", source, count, options.tokens,
                options.sequences);
  }
  Sequences sequences(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * available / count * fresh;
    if (bos) sequences[i].push_back(special.bos);
    sequences[i].insert(sequences[i].end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                        ids.begin() + static_cast<std::ptrdiff_t>(begin + fresh));
  }
  return sequences;
}

}  // namespace lathe::quant
