// The metadata keys of one GGUF model: "<arch>.<name>".
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "formats/metadata.h"

namespace lathe::formats {

class GgufKeys {
 public:
  GgufKeys(const Metadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}
  const std::string& file() const { return metadata_.file(); }
  std::string full(std::string_view name) const { return fmt::format("{}.{}", prefix_, name); }

  // Scalars, or arrays with one value per layer: all must agree, since layers are alike here.
  std::optional<std::uint32_t> size(std::string_view name) const {
    const std::string key = full(name);
    const auto values = metadata_.integers(key);
    if (!values) return std::nullopt;
    if (values->empty()) fail(file(), "metadata key \"{}\" is an empty array", key);
    if (std::adjacent_find(values->begin(), values->end(), std::not_equal_to<>()) != values->end()) {
      fail(file(), "metadata key \"{}\" differs from layer to layer, which is not supported", key);
    }
    return narrow<std::uint32_t>(values->front(), fmt::format("metadata key \"{}\"", key), file());
  }
  std::uint32_t need(std::string_view name) const {
    if (const auto value = size(name)) return *value;
    fail(file(), "metadata key \"{}\" is missing", full(name));
  }
  std::optional<float> number(std::string_view name) const {
    const auto value = metadata_.number(full(name));
    if (!value) return std::nullopt;
    return static_cast<float>(*value);
  }
  std::optional<std::vector<std::int64_t>> integers(std::string_view name) const {
    return metadata_.integers(full(name));
  }
  std::optional<bool> flag(std::string_view name) const { return metadata_.boolean(full(name)); }
  std::optional<std::string> string(std::string_view name) const { return metadata_.string(full(name)); }

 private:
  const Metadata& metadata_;
  std::string prefix_;
};

}  // namespace lathe::formats
