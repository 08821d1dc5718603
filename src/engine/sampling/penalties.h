// Samplers that change logits before any token is dropped: bias, and penalties for what was said already.
#pragma once

#include <span>
#include <utility>

#include "text/tokenizer.h"

namespace lathe::engine::sampling {

// Ids outside the logits are the caller's mistake (validate() refuses them).
void add_bias(std::span<float> logits, std::span<const std::pair<text::TokenId, float>> bias);

// Divides positive and multiplies negative logits of the tokens in `recent` by `penalty` (CTRL, Keskar et al. 2019,
// section 4.1, which divides all; the sign keeps a penalty from making an unlikely token likelier).
void penalise_repeats(std::span<float> logits, std::span<const text::TokenId> recent, float penalty);

// Takes presence + count * frequency off the logit of every token that occurs count > 0 times in `generated` (the
// penalties of OpenAI's completions API).
void penalise_counts(std::span<float> logits, std::span<const text::TokenId> generated, float presence,
                     float frequency);

}  // namespace lathe::engine::sampling
