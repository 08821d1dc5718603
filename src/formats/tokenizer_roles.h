// Which tokens have a role: what the files beside a tokenizer.json say, and what can be guessed without them.
#pragma once

#include "text/tokenizer_spec.h"

namespace lathe::formats {

// Roles from the post-processor and from the usual spellings of control tokens.
void guess_roles(text::TokenizerSpec& spec);

}  // namespace lathe::formats
