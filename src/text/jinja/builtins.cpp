#include "text/jinja/builtins.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/jinja/operators.h"

namespace lathe::jinja {

Builtin find_in(std::initializer_list<NamedBuiltin> table, std::string_view name) {
  for (const NamedBuiltin& entry : table) {
    if (entry.name == name) return entry.call;
  }
  return nullptr;
}

Builtin find_filter(std::string_view name) {
  for (auto* find : {find_text_filter, find_number_filter, find_sequence_filter, find_order_filter}) {
    if (const Builtin filter = find(name)) return filter;
  }
  return nullptr;
}

Builtin find_method(const Value& object, std::string_view name) {
  if (object.is_string()) {
    const Builtin method = find_text_method(name);
    return method != nullptr ? method : find_text_query_method(name);
  }
  if (object.is_dict()) return find_dict_method(name);
  if (object.is_list()) return find_list_method(name);
  if (object.is(Kind::kTuple) && (name == "index" || name == "count")) return find_list_method(name);
  return nullptr;
}

Values bind(const Arguments& arguments, std::string_view function, std::initializer_list<std::string_view> names,
            std::size_t required) {
  Values bound(names.size());
  if (arguments.positional.size() > names.size()) {
    throw EvalError{fmt::format("{} takes at most {} arguments, {} were given", function, names.size(),
                                arguments.positional.size())};
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw EvalError{fmt::format("{} has no argument '{}'", function, name)};
    Value& place = bound[static_cast<std::size_t>(found - names.begin())];
    if (!place.missing()) throw EvalError{fmt::format("{} got two values for '{}'", function, name)};
    place = value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (bound[i].missing()) throw EvalError{fmt::format("{} needs the argument '{}'", function, names.begin()[i])};
  }
  return bound;
}

std::int64_t int_argument(const Value& value, std::int64_t otherwise, std::string_view what) {
  if (value.none_or_absent()) return otherwise;
  require_defined(value);
  if (!value.is_integral()) throw EvalError{fmt::format("{} must be an integer, not {}", what, value.type_name())};
  return value.as_int();
}

const std::string& text_argument(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.is_string()) throw EvalError{fmt::format("{} must be str, not {}", what, value.type_name())};
  return value.text();
}

}  // namespace lathe::jinja
