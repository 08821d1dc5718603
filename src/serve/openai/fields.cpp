#include "serve/openai/fields.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace lathe::serve {
namespace {

constexpr int kDeepest = 100;
constexpr std::size_t kMostKeys = 1024, kMostValues = 500'000;

}  // namespace

Json parse_body(std::string_view body) {
  if (body.empty()) throw ApiError(400, "the request has no body; a JSON object is expected");
  std::vector<std::size_t> keys;  // of the objects that are open
  std::size_t values = 0;
  Json parsed;
  try {
    using Event = Json::parse_event_t;
    parsed = Json::parse(body.begin(), body.end(), [&](int depth, Event event, Json&) {
      switch (event) {
        case Event::object_start:
          keys.push_back(0);
          break;
        case Event::object_end:
          keys.pop_back();
          break;
        case Event::key:
          if (++keys.back() > kMostKeys) throw ApiError(400, "an object of the request has more than 1024 keys");
          break;
        default:
          break;
      }
      const bool opens = event == Event::object_start || event == Event::array_start;
      if (opens && depth >= kDeepest) throw ApiError(400, "the request is nested deeper than 100 levels");
      if ((opens || event == Event::value) && ++values > kMostValues)
        throw ApiError(400, "the request holds more than 500000 values");
      return true;
    });
  } catch (const Json::parse_error& error) {
    throw ApiError(400, fmt::format("the body is not valid JSON, at byte {}", error.byte), {}, "invalid_json");
  } catch (const Json::exception&) {
    throw ApiError(400, "the body holds a number that cannot be represented", {}, "invalid_json");
  }
  if (!parsed.is_object()) throw ApiError(400, "the body is no JSON object but " + json_kind(parsed));
  return parsed;
}

std::string json_kind(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    default:
      return "a number";
  }
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object.is_object())
    throw ApiError(400, fmt::format("'{}' must be an object, not {}", path_, json_kind(object)), path_, "invalid_type");
}

std::string Fields::name(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const Json* Fields::find(const char* key) {
  known_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::wrong_type(const char* key, const char* expected, const Json& value) const {
  throw ApiError(400, fmt::format("'{}' must be {}, not {}", name(key), expected, json_kind(value)), name(key),
                 "invalid_type");
}

std::optional<double> Fields::number(const char* key, double least, double most) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) wrong_type(key, "a number", *value);
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < least || number > most)
    throw ApiError(400, fmt::format("'{}' must lie between {} and {}", name(key), least, most), name(key),
                   "invalid_value");
  return number;
}

std::optional<std::int64_t> Fields::integer(const char* key, std::int64_t least, std::int64_t most) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::int64_t number = 0;
  bool fits = true;
  if (value->is_number_unsigned()) {
    const std::uint64_t given = value->get<std::uint64_t>();
    fits = given <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    number = fits ? static_cast<std::int64_t>(given) : 0;
  } else if (value->is_number_integer()) {
    number = value->get<std::int64_t>();
  } else if (value->is_number_float()) {  // 16.0 and 1e3 are whole numbers
    const double given = value->get<double>();
    if (std::isfinite(given) && given != std::floor(given)) wrong_type(key, "an integer", *value);
    fits = std::isfinite(given) && std::abs(given) < 9e15;
    number = fits ? static_cast<std::int64_t>(given) : 0;
  } else {
    wrong_type(key, "an integer", *value);
  }
  if (!fits || number < least || number > most)
    throw ApiError(400, fmt::format("'{}' must lie between {} and {}", name(key), least, most), name(key),
                   "invalid_value");
  return number;
}

std::optional<bool> Fields::boolean(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) wrong_type(key, "a boolean", *value);
  return value->get<bool>();
}

std::optional<std::string> Fields::text(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) wrong_type(key, "a string", *value);
  return value->get<std::string>();
}

std::string Fields::required_text(const char* key) {
  auto value = text(key);
  if (!value) throw ApiError(400, fmt::format("'{}' is missing", name(key)), name(key), "missing_required_parameter");
  return std::move(*value);
}

const Json* Fields::object(const char* key) {
  const Json* value = find(key);
  if (value != nullptr && !value->is_object()) wrong_type(key, "an object", *value);
  return value;
}

const Json* Fields::array(const char* key) {
  const Json* value = find(key);
  if (value != nullptr && !value->is_array()) wrong_type(key, "an array", *value);
  return value;
}

const Json* Fields::any(const char* key) { return find(key); }

void Fields::ignore(std::initializer_list<const char*> keys) {
  for (const char* key : keys) known_.insert(key);
}

void Fields::finish() const {
  for (const auto& [key, value] : object_.items()) {
    if (known_.contains(key)) continue;
    throw ApiError(400, fmt::format("unknown field '{}'", name(key)), name(key), "unknown_parameter");
  }
}

}  // namespace lathe::serve
