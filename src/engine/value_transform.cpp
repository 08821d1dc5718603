#include "engine/value_transform.h"

#include "base/error.h"
#include "base/json.h"

namespace lathe::engine {
namespace {

constexpr std::string_view kSpace = " \t\r\n\f\v", kJson = "json:";

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

}  // namespace

ValueTransform ValueTransform::named(std::string_view name) {
  if (name.empty()) return {};
  if (name == "trim") return {Kind::kTrim, {}};
  if (name == "first_line") return {Kind::kFirstLine, {}};
  if (name.starts_with(kJson) && name.size() > kJson.size())
    return {Kind::kJsonField, std::string(name.substr(kJson.size()))};
  throw Error(fmt::format("there is no transform '{}'", name), {}, "use trim, first_line or json:FIELD");
}

std::string ValueTransform::name() const {
  switch (kind) {
    case Kind::kNone:
      return {};
    case Kind::kTrim:
      return "trim";
    case Kind::kFirstLine:
      return "first_line";
    case Kind::kJsonField:
      return std::string(kJson) + field;
  }
  return {};
}

std::string ValueTransform::apply(const std::string& text) const {
  switch (kind) {
    case Kind::kNone:
      return text;
    case Kind::kTrim:
      return trimmed(text);
    case Kind::kFirstLine: {
      const std::string all = trimmed(text);
      return trimmed(all.substr(0, all.find('\n')));
    }
    case Kind::kJsonField: {
      const Json parsed = parse_json(trimmed(text), "generated text", 64);
      const auto found = parsed.find(field);  // of anything but an object: nothing
      if (!parsed.is_object() || found == parsed.end()) throw Error("the generated JSON has no such field", field);
      return found->is_string() ? found->get<std::string>() : found->dump();
    }
  }
  return text;
}

}  // namespace lathe::engine
