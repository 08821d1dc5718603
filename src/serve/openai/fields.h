// The fields of a JSON request: every number is checked against its bounds before anything computes with it, every type
// is checked, and a field nobody asked for is an error that names it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "serve/openai/error.h"

namespace lathe::serve {

// Parses a request's body; 400 for malformed JSON, invalid UTF-8, nesting beyond 100, more than 1024 keys in an object
// or 500,000 values in all (time and memory stay within a small multiple of the body), and for anything but an object.
Json parse_body(std::string_view body);

class Fields {
 public:
  // `path` is what errors call the object: empty for the request, "response_format" or "messages[3]" inside it.
  explicit Fields(const Json& object, std::string path = {});

  // Absent and null give nothing; another type or a value out of bounds throws ApiError naming the field.
  std::optional<double> number(const char* key, double least, double most);
  std::optional<std::int64_t> integer(const char* key, std::int64_t least, std::int64_t most);
  std::optional<bool> boolean(const char* key);
  std::optional<std::string> text(const char* key);
  std::string required_text(const char* key);
  // The value as it is, or null.
  const Json* object(const char* key);
  const Json* array(const char* key);
  const Json* any(const char* key);
  // Known fields without any meaning here.
  void ignore(std::initializer_list<const char*> keys);
  // Throws for fields that were not asked for.
  void finish() const;

  std::string name(std::string_view key) const;  // as errors call it

 private:
  const Json* find(const char* key);
  [[noreturn]] void wrong_type(const char* key, const char* expected, const Json& value) const;

  const Json& object_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
};

// What a JSON value is, in words.
std::string json_kind(const Json& value);

}  // namespace lathe::serve
