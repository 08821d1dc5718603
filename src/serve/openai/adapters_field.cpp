#include "serve/openai/adapters_field.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/json.h"

namespace lathe::serve {
namespace {

constexpr double kLargestScale = 1000;

api::AdapterUse read_use(const Json& entry, const std::string& path) {
  if (entry.is_string()) return entry.get<std::string>();
  Fields fields(entry, path);
  api::AdapterUse use = fields.required_text("name");
  use.scale = static_cast<float>(fields.number("scale", -kLargestScale, kLargestScale).value_or(1));
  fields.finish();
  return use;
}

}  // namespace

std::vector<api::AdapterUse> read_adapters(Fields& fields, const Lease& lease) {
  const Json* list = fields.array("adapters");
  if (list == nullptr) return lease.adapters;
  const std::string field = fields.name("adapters");
  if (!lease.adapters.empty())
    throw ApiError(400, fmt::format("'{}' beside '{}', which names adapters already", field, lease.name), field,
                   "invalid_value");
  const std::vector<std::string>& known = lease.model->adapters;
  std::vector<api::AdapterUse> uses;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string path = fmt::format("{}[{}]", field, i);
    api::AdapterUse use = read_use((*list)[i], path);
    if (std::find(known.begin(), known.end(), use.name) == known.end()) {
      throw ApiError(404,
                     fmt::format("'{}' has no adapter '{}'; it has {}", lease.name, use.name.substr(0, 100),
                                 known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))),
                     path, "adapter_not_found");
    }
    if (std::any_of(uses.begin(), uses.end(), [&](const auto& other) { return other.name == use.name; }))
      throw ApiError(400, fmt::format("'{}' names '{}' twice", field, use.name), path, "invalid_value");
    uses.push_back(std::move(use));
  }
  return uses;
}

}  // namespace lathe::serve
