// A template's source to its tree: {% for %}, {% if %}, {% set %}, {% macro %} and the other statements.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/ast.h"

namespace lathe::jinja {

// `name` goes into errors ("name: line 3, column 5: ..."). Throws lathe::Error for anything that is not a template.
Template parse_template(std::string_view source, std::string name);

}  // namespace lathe::jinja
