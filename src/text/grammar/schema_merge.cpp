#include "text/grammar/schema_merge.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/json.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

constexpr int kMaxReferences = 64;         // one $ref or allOf inside the other
constexpr std::size_t kMaxMerges = 2'000;  // copies of parts of the schema

struct Keyword {
  std::string_view name, type;
};
constexpr Keyword kKeywords[] = {
    {"type", ""},
    {"enum", ""},
    {"const", ""},
    {"anyOf", ""},
    {"oneOf", ""},
    {"allOf", ""},
    {"$ref", ""},
    {"properties", "object"},
    {"required", "object"},
    {"additionalProperties", "object"},
    {"minProperties", "object"},
    {"maxProperties", "object"},
    {"items", "array"},
    {"prefixItems", "array"},
    {"minItems", "array"},
    {"maxItems", "array"},
    {"uniqueItems", "array"},
    {"minLength", "string"},
    {"maxLength", "string"},
    {"pattern", "string"},
    {"format", "string"},
    {"minimum", "number"},
    {"maximum", "number"},
    {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},
};
// Keywords that do not say what a value looks like.
constexpr std::string_view kAnnotations[] = {"title",    "description", "default",  "examples",
                                             "$schema",  "$id",         "$comment", "deprecated",
                                             "readOnly", "writeOnly",   "$defs",    "definitions"};

bool is_annotation(std::string_view keyword) {
  return std::find(std::begin(kAnnotations), std::end(kAnnotations), keyword) != std::end(kAnnotations);
}

std::set<std::string> property_names(const Json& schema) {
  std::set<std::string> names;
  if (const auto properties = schema.find("properties"); properties != schema.end() && properties->is_object()) {
    for (const auto& [name, ignored] : properties->items()) names.insert(name);
  }
  return names;
}

}  // namespace

std::string_view SchemaMerge::type_of_keyword(std::string_view keyword) {
  for (const Keyword& known : kKeywords) {
    if (known.name == keyword) return known.type;
  }
  return "";
}

std::string SchemaMerge::escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

const Json& SchemaMerge::target(const std::string& pointer) const {
  try {
    return root_.at(Json::json_pointer(pointer));
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("\"$ref\" to {}: there is nothing there", text::quoted("#" + pointer)), name_);
  }
}

std::string SchemaMerge::pointer_of(const Json& reference, const std::string& pointer) const {
  if (!reference.is_string()) throw Error("\"$ref\" must be a string", where(pointer));
  const auto text = reference.get<std::string>();
  if (text != "#" && !text.starts_with("#/")) {
    throw Error(
        fmt::format("\"$ref\" {} is not supported: only places in this schema (\"#/...\") are", text::quoted(text)),
        where(pointer));
  }
  std::string plain;  // %XX resolved
  for (std::size_t i = 1; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) -> int {
      const char c = at < text.size() ? text[at] : '\0';
      if (c >= '0' && c <= '9') return c - '0';
      const char lower = static_cast<char>(c | 0x20);
      return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
    };
    if (text[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      plain += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      plain += text[i];
    }
  }
  if (!is_valid_utf8(plain)) throw Error("\"$ref\" is not UTF-8", where(pointer));
  return plain;
}

bool SchemaMerge::is_free(const Json& schema) const {
  if (schema.is_boolean()) return schema.get<bool>();
  if (!schema.is_object()) return false;
  for (const auto& [keyword, ignored] : schema.items()) {
    if (!is_annotation(keyword)) return false;
  }
  return true;
}

std::optional<std::string> SchemaMerge::only_reference(const Json& schema, const std::string& pointer) const {
  if (!schema.is_object() || !schema.contains("$ref")) return std::nullopt;
  for (const auto& [keyword, ignored] : schema.items()) {
    if (keyword != "$ref" && !is_annotation(keyword)) return std::nullopt;
  }
  std::string target_pointer = pointer_of(schema["$ref"], pointer);
  target(target_pointer);
  return target_pointer;
}

Json SchemaMerge::flattened(const Json& schema, const std::string& pointer) { return flatten(schema, pointer, 0); }

Json SchemaMerge::flatten(const Json& schema, const std::string& pointer, int depth) {
  if (depth > kMaxReferences) throw Error("\"$ref\" and \"allOf\" lead back to themselves", where(pointer));
  if (schema.is_boolean()) return schema;
  if (!schema.is_object()) throw Error("a schema must be an object or true or false", where(pointer));
  Json flat = Json::object();
  for (const auto& [keyword, value] : schema.items()) {
    if (is_annotation(keyword) || keyword == "$ref" || keyword == "allOf") continue;
    const bool known = std::any_of(std::begin(kKeywords), std::end(kKeywords),
                                   [&name = keyword](const Keyword& k) { return k.name == name; });
    if (!known) throw Error(fmt::format("the keyword {} is not supported", text::quoted(keyword)), where(pointer));
    flat[keyword] = value;
  }
  if (const auto reference = schema.find("$ref"); reference != schema.end()) {
    const std::string at = pointer_of(*reference, pointer);
    flat = merge(flat, flatten(target(at), at, depth + 1), pointer);
  }
  if (const auto all = schema.find("allOf"); all != schema.end()) {
    if (!all->is_array() || all->empty()) throw Error("\"allOf\" must be a list of schemas", where(pointer));
    for (std::size_t i = 0; i < all->size(); ++i) {
      const std::string at = fmt::format("{}/allOf/{}", pointer, i);
      flat = merge(flat, flatten((*all)[i], at, depth + 1), at);
    }
  }
  return flat;
}

Json SchemaMerge::both(const Json& a, const Json& b, const std::string& pointer) {
  return merge(flatten(a, pointer, 0), flatten(b, pointer, 0), pointer);
}

// Of two flattened schemas.
Json SchemaMerge::merge(const Json& a, const Json& b, const std::string& pointer) {
  if (++merges_ > kMaxMerges) throw Error("the schema joins too many schemas", where(pointer));
  if (a.is_boolean()) return a.get<bool>() ? b : a;
  if (b.is_boolean()) return b.get<bool>() ? a : b;
  Json merged = a;
  // One side's word on other properties also speaks of those that only the other side lists.
  for (const auto& [one, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const auto additional = one->find("additionalProperties");
    if (additional == one->end() || is_free(*additional)) continue;
    const auto mine = property_names(*one), others = property_names(*other);
    if (!std::includes(mine.begin(), mine.end(), others.begin(), others.end())) {
      throw Error("\"additionalProperties\" beside properties that another joined schema adds is not supported",
                  where(pointer), "list all properties where additionalProperties stands");
    }
  }
  for (const auto& [keyword, value] : b.items()) merge_keyword(merged, keyword, value, pointer);
  return merged;
}

void SchemaMerge::merge_keyword(Json& into, const std::string& keyword, const Json& value, const std::string& pointer) {
  const auto there = into.find(keyword);
  if (there == into.end()) {
    into[keyword] = value;
  } else if (keyword == "properties") {
    merge_properties(*there, value, pointer);
  } else if (*there == value || (keyword == "additionalProperties" && is_free(value))) {
    return;
  } else if (keyword == "required" && there->is_array() && value.is_array()) {
    for (const Json& name : value) {
      if (std::find(there->begin(), there->end(), name) == there->end()) there->push_back(name);
    }
  } else if (keyword == "type") {
    const auto list = [](const Json& types) { return types.is_array() ? types : Json::array({types}); };
    Json common = Json::array();
    for (const Json& mine : list(*there)) {
      for (const Json& other : list(value)) {
        if (mine == other || (mine == "integer" && other == "number")) common.push_back(mine);
        if (mine == "number" && other == "integer") common.push_back(other);
      }
    }
    if (common.empty()) throw Error("no \"type\" satisfies all joined schemas", where(pointer));
    *there = common;
  } else if ((keyword.starts_with("min") || keyword == "exclusiveMinimum") && there->is_number() && value.is_number()) {
    if (value > *there) *there = value;
  } else if ((keyword.starts_with("max") || keyword == "exclusiveMaximum") && there->is_number() && value.is_number()) {
    if (value < *there) *there = value;
  } else if (keyword == "additionalProperties" && is_free(*there)) {
    *there = value;
  } else {
    throw Error(fmt::format("two different values of {} cannot be joined", text::quoted(keyword)), where(pointer));
  }
}

void SchemaMerge::merge_properties(Json& a, const Json& b, const std::string& pointer) {
  if (!a.is_object() || !b.is_object()) throw Error("\"properties\" must be an object", where(pointer));
  for (const auto& [name, schema] : b.items()) {
    const auto there = a.find(name);
    if (there == a.end()) {
      a[name] = schema;
    } else if (*there != schema) {
      *there = Json{{"allOf", Json::array({*there, schema})}};
    }
  }
}

}  // namespace lathe::text::grammar
