// What filters over sequences have in common.
#pragma once

#include "text/jinja/interpreter.h"

namespace lathe::jinja {

// item.a.b.0 for the path "a.b.0" (or a single integer); `otherwise` in place of undefined steps, unless missing.
Value attribute_path(Interpreter& in, const Value& item, const Value& path, const Value& otherwise = {});
// A string in lower case, anything else as it is: how filters compare unless told that case matters.
Value without_case(Interpreter& in, const Value& value);

}  // namespace lathe::jinja
