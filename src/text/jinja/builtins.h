// Filters, tests, methods and globals by name, and how they receive their arguments.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace lathe::jinja {

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// For a filter or a test the first argument is what stands left of it; for a method, its object.
using Builtin = Value (*)(Interpreter&, Arguments&);
using Test = bool (*)(Interpreter&, Arguments&);

struct NamedBuiltin {
  std::string_view name;
  Builtin call;
};

// Null when there is none of that name.
Builtin find_filter(std::string_view name);
Test find_test(std::string_view name);
Builtin find_method(const Value& object, std::string_view name);
Builtin find_global(std::string_view name);

// The tables, one per file.
Builtin find_in(std::initializer_list<NamedBuiltin> table, std::string_view name);
Builtin find_text_filter(std::string_view name);
Builtin find_number_filter(std::string_view name);
Builtin find_sequence_filter(std::string_view name);
Builtin find_order_filter(std::string_view name);
Builtin find_text_method(std::string_view name);
Builtin find_text_query_method(std::string_view name);
Builtin find_list_method(std::string_view name);
Builtin find_dict_method(std::string_view name);

// Arguments in the order of `names`, by position or by name; kMissing for what was not given. Throws when fewer than
// `required` are given, or others than `names`.
Values bind(const Arguments& arguments, std::string_view function, std::initializer_list<std::string_view> names,
            std::size_t required);

// dict(source): the entries of a mapping, or an iterable of pairs, into `dict`.
void fill_dict(Interpreter& interpreter, DictObject& dict, const Value& source);

// An argument as an integer; `otherwise` when it was not given.
std::int64_t int_argument(const Value& value, std::int64_t otherwise, std::string_view what);
// An argument as text, which must be a string.
const std::string& text_argument(const Value& value, std::string_view what);

}  // namespace lathe::jinja
