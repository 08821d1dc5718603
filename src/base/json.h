// JSON in and out: nlohmann::json behind a parser that bounds nesting and says file, line and column.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json_fwd.h"

// Compiled once, in json.cpp.
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace lathe {

// Parses `text`; `name` (a file or request) goes into errors. Nesting deeper than `max_depth` is an error.
Json parse_json(std::string_view text, std::string_view name, int max_depth = 256);
// The same with sorted keys, for objects with very many of them: building an ordered one takes quadratic time.
nlohmann::json parse_json_sorted(std::string_view text, std::string_view name, int max_depth = 256);

// object[key] as T; an Error naming `where` and the key when it is absent or of another type.
template <class T>
T json_get(const Json& object, const char* key, std::string_view where) {
  const auto it = object.find(key);
  if (it == object.end()) fail(where, "\"{}\" is missing", key);
  try {
    return it->get<T>();
  } catch (const nlohmann::json::exception&) {
    fail(where, "\"{}\" has the wrong type", key);
  }
}

// The same, with a default for an absent or null key.
template <class T>
T json_get_or(const Json& object, const char* key, T otherwise, std::string_view where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  return json_get<T>(object, key, where);
}

}  // namespace lathe
