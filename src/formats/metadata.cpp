#include "formats/metadata.h"

#include <cstring>
#include <span>

namespace lathe::formats {
namespace {

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Element `index` of a numeric array, converted to R.
template <class R>
R element(const Bytes& bytes, MetaType type, std::uint64_t index) {
  const std::byte* at = bytes.data() + index * meta_type_bytes(type);
  switch (type) {
    case MetaType::kU8:
    case MetaType::kBool:
      return static_cast<R>(load<std::uint8_t>(at));
    case MetaType::kI8:
      return static_cast<R>(load<std::int8_t>(at));
    case MetaType::kU16:
      return static_cast<R>(load<std::uint16_t>(at));
    case MetaType::kI16:
      return static_cast<R>(load<std::int16_t>(at));
    case MetaType::kU32:
      return static_cast<R>(load<std::uint32_t>(at));
    case MetaType::kI32:
      return static_cast<R>(load<std::int32_t>(at));
    case MetaType::kF32:
      return static_cast<R>(load<float>(at));
    case MetaType::kU64:
      return static_cast<R>(load<std::uint64_t>(at));
    case MetaType::kI64:
      return static_cast<R>(load<std::int64_t>(at));
    case MetaType::kF64:
      return static_cast<R>(load<double>(at));
    case MetaType::kString:
    case MetaType::kArray:
      break;
  }
  return R{};
}

bool is_integer(MetaType type) {
  return type != MetaType::kF32 && type != MetaType::kF64 && type != MetaType::kString && type != MetaType::kArray;
}

[[noreturn]] void wrong_type(const std::string& file, std::string_view key, std::string_view expected) {
  fail(file, "metadata key \"{}\" is not {}", key, expected);
}

template <class T>
MetaValue numeric_array(MetaType type, const std::vector<T>& v) {
  return {type, true, Bytes::copy_of(std::as_bytes(std::span(v)), "metadata array")};
}

}  // namespace

std::uint64_t meta_type_bytes(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kI8:
    case MetaType::kBool:
      return 1;
    case MetaType::kU16:
    case MetaType::kI16:
      return 2;
    case MetaType::kU32:
    case MetaType::kI32:
    case MetaType::kF32:
      return 4;
    case MetaType::kU64:
    case MetaType::kI64:
    case MetaType::kF64:
      return 8;
    case MetaType::kString:
    case MetaType::kArray:
      break;
  }
  return 0;
}

MetaValue MetaValue::i32s(const std::vector<std::int32_t>& v) { return numeric_array(MetaType::kI32, v); }
MetaValue MetaValue::f32s(const std::vector<float>& v) { return numeric_array(MetaType::kF32, v); }

void Metadata::set(std::string key, MetaValue value) {
  for (auto& [existing, slot] : items_) {
    if (existing == key) {
      slot = std::move(value);
      return;
    }
  }
  items_.emplace_back(std::move(key), std::move(value));
}

void Metadata::erase(std::string_view key) {
  std::erase_if(items_, [&](const auto& item) { return item.first == key; });
}

const MetaValue* Metadata::find(std::string_view key) const {
  for (const auto& [existing, value] : items_) {
    if (existing == key) return &value;
  }
  return nullptr;
}

std::optional<std::int64_t> Metadata::integer(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || !is_integer(value->type)) wrong_type(file_, key, "an integer");
  if (const auto* number = std::get_if<std::uint64_t>(&value->value)) {
    return narrow<std::int64_t>(*number, fmt::format("metadata key \"{}\"", key), file_);
  }
  return std::get<std::int64_t>(value->value);
}

std::optional<double> Metadata::number(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array) {
    if (const auto* v = std::get_if<double>(&value->value)) return *v;
    if (const auto* v = std::get_if<std::uint64_t>(&value->value)) return static_cast<double>(*v);
    if (const auto* v = std::get_if<std::int64_t>(&value->value)) return static_cast<double>(*v);
  }
  wrong_type(file_, key, "a number");
}

std::optional<bool> Metadata::boolean(std::string_view key) const {
  const auto value = integer(key);
  if (!value) return std::nullopt;
  return *value != 0;
}

std::optional<std::string> Metadata::string(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* v = std::get_if<std::string>(&value->value)) return *v;
  wrong_type(file_, key, "a string");
}

std::optional<std::vector<std::string>> Metadata::strings(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* v = std::get_if<std::vector<std::string>>(&value->value)) return *v;
  wrong_type(file_, key, "an array of strings");
}

std::optional<std::vector<std::int64_t>> Metadata::integers(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array) return std::vector<std::int64_t>{*integer(key)};
  const auto* bytes = std::get_if<Bytes>(&value->value);
  if (bytes == nullptr || !is_integer(value->type)) wrong_type(file_, key, "an array of integers");
  std::vector<std::int64_t> result(bytes->size() / meta_type_bytes(value->type));
  for (std::uint64_t i = 0; i < result.size(); ++i) result[i] = element<std::int64_t>(*bytes, value->type, i);
  return result;
}

std::optional<std::vector<double>> Metadata::numbers(std::string_view key) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array) return std::vector<double>{*number(key)};
  const auto* bytes = std::get_if<Bytes>(&value->value);
  if (bytes == nullptr) wrong_type(file_, key, "an array of numbers");
  std::vector<double> result(bytes->size() / meta_type_bytes(value->type));
  for (std::uint64_t i = 0; i < result.size(); ++i) result[i] = element<double>(*bytes, value->type, i);
  return result;
}

}  // namespace lathe::formats
