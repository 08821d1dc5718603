// References and allOf of JSON Schema: several schemas that hold together as one. Also knows which keywords there are.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace lathe::text::grammar {

class SchemaMerge {
 public:
  SchemaMerge(const Json& root, std::string_view name) : root_(root), name_(name) {}

  // "name#/pointer", for messages.
  std::string where(const std::string& pointer) const { return fmt::format("{}#{}", name_, pointer); }
  // The schema at a JSON pointer; throws when there is none.
  const Json& target(const std::string& pointer) const;
  // The pointer of a schema that says nothing but "$ref".
  std::optional<std::string> only_reference(const Json& schema, const std::string& pointer) const;
  // The schema without $ref, allOf and annotations, every keyword checked to be known.
  Json flattened(const Json& schema, const std::string& pointer);
  // A schema for what satisfies both; either may still hold $ref and allOf.
  Json both(const Json& a, const Json& b, const std::string& pointer);
  // It restricts nothing.
  bool is_free(const Json& schema) const;

  // "object", "string", ... for a keyword that speaks of values of one type; "" for others.
  static std::string_view type_of_keyword(std::string_view keyword);
  // A property's name as a part of a JSON pointer.
  static std::string escaped(std::string_view name);

 private:
  Json flatten(const Json& schema, const std::string& pointer, int depth);
  Json merge(const Json& a, const Json& b, const std::string& pointer);
  void merge_keyword(Json& into, const std::string& keyword, const Json& value, const std::string& pointer);
  void merge_properties(Json& a, const Json& b, const std::string& pointer);
  std::string pointer_of(const Json& reference, const std::string& pointer) const;

  const Json& root_;
  std::string name_;
  std::size_t merges_ = 0;
};

}  // namespace lathe::text::grammar
