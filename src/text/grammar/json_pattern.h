// Regular expressions of JSON Schema's `pattern` as grammar expressions over the text inside a JSON string.
#pragma once

#include <string_view>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

// What stands between the quotes. `any_char` matches any character of a string: it fills the sides on which the pattern
// is not anchored. Known: alternatives, groups, classes, . \d \w \s and their opposites, escapes, repetitions, ^ and $
// at the ends of an alternative. Throws Error naming `where` for anything else (look-around, back references, \b, \p).
Expression parse_pattern(std::string_view pattern, const Expression& any_char, std::string_view where);

}  // namespace lathe::text::grammar
