// JSON Schema (2020-12, the part that says what a value looks like) as a grammar whose texts are the JSON of valid
// values. Keywords it does not know are errors, never ignored; docs/grammars.md lists what is known and what narrower
// meaning some keywords get.
#pragma once

#include <string_view>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

// Throws Error "name#/pointer: ..." naming the keyword that is unknown, cannot be expressed, or that nothing satisfies.
Grammar grammar_from_json_schema(std::string_view schema, std::string_view name = "schema");

}  // namespace lathe::text::grammar
