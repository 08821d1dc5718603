// Reads the grammar notation that llama.cpp's users know as GBNF:
//
//   root ::= greeting (", " name){0,3} "!"    # the rule called root is where matching starts
//   name ::= [A-Z] [a-z]+ | "\u00c9mile"      # \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH; . is any character
//
// A rule ends with its line unless a parenthesis is open or the next thing is a '|'.
#pragma once

#include <string_view>

#include "text/grammar/grammar.h"

namespace lathe::text::grammar {

// Throws Error "name:line:column: ..." for text that is not a grammar, for undefined and for doubly defined rules.
Grammar parse_gbnf(std::string_view text, std::string_view name = "grammar");

}  // namespace lathe::text::grammar
