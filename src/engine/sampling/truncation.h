// Samplers that drop unlikely tokens. Each takes sorted candidates, keeps at least one, and leaves them sorted;
// probabilities are those among the candidates it is given.
#pragma once

#include "engine/sampling/candidates.h"

namespace lathe::engine::sampling {

// The tokens whose surprise -log p is closest to the distribution's entropy, as few as have probability `p` together
// (locally typical sampling, Meister et al. 2022, section 4).
void keep_typical(Candidates& candidates, double p);

// The most likely tokens, as few as have probability `p` together (nucleus sampling, Holtzman et al. 2020, section
// 3.1).
void keep_top_p(Candidates& candidates, double p);

// The tokens at least `p` times as likely as the most likely one (min-p, Nguyen et al. 2024, section 3).
void keep_min_p(Candidates& candidates, double p);

}  // namespace lathe::engine::sampling
