// Calibration text as token sequences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quant/layer_runner.h"
#include "text/tokenizer.h"

namespace lathe::quant {

struct CalibrationOptions {
  std::uint32_t sequences = 32;
  std::uint32_t tokens = 512;  // of a sequence; less where the model's context is
};

// `sequences` runs of `tokens` tokens, evenly spread over the text, each begun by BOS where the model uses one. Throws
// an Error naming `source` when the text is too short for one sequence; fewer sequences than asked for are taken, with
// a warning, when it is too short for all of them.
Sequences calibration_sequences(std::string_view text, const std::string& source, const text::Tokenizer& tokenizer,
                                const CalibrationOptions& options);

}  // namespace lathe::quant
