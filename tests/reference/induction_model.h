// A model whose weights are set by hand so that it copies: asked with a token that it has read before, it says what
// followed that token, and what followed that (the induction heads of Olsson et al. 2022, written down instead of
// learned). What small trained models cannot do, to find a pass key in a long text, it does exactly, wherever its
// attention reaches.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/tiny_model.h"

namespace lathe::test {

// Tokens [0, kFillers) are prose that nobody asks about; every other one has a code of its own that it can be found by.
inline constexpr std::int32_t kFillers = 64;

// Trained, as one would say, for `context` tokens: so far the rotation of keys does no harm.
TinyModel make_induction_model(std::uint32_t vocab = 2048, std::uint32_t context = 512);

// Prose with keys in it, each followed by a value of kValueTokens. The last token is the key that is asked for.
struct PasskeyText {
  static constexpr std::size_t kValueTokens = 3;
  std::vector<std::int32_t> ids, answer;
};
// `depth` in [0, 1): where in the text the key that is asked for stands. `distractors` other keys stand elsewhere.
PasskeyText make_passkey_text(std::size_t length, std::size_t distractors, double depth, std::uint32_t vocab,
                              std::uint64_t seed);

}  // namespace lathe::test
