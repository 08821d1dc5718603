// Python's two ways to format text: "%s of %d" % values and "{} of {:>4}".format(values).
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace lathe::jinja {

// `format` % `values`: a tuple gives the arguments in order, a dict by name, anything else is the one argument.
Value percent_format(Heap& heap, const Value& format, const Value& values);
// str.format.
Value brace_format(Heap& heap, const Value& format, const Arguments& arguments);

}  // namespace lathe::jinja
