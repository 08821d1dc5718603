// The key-value section of a GGUF file, as data: what the reader fills, the writer writes, and architectures and
// tokenizers are read from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/checked.h"

namespace lathe::formats {

// Numbered as in the file.
enum class MetaType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};

// Bytes of one element; 0 for strings and arrays.
std::uint64_t meta_type_bytes(MetaType type);

// A scalar, a string, an array of numbers (its little-endian bytes, not copied from the mapping) or of strings.
// Arrays of arrays do not occur in real files and are rejected on reading.
struct MetaValue {
  MetaType type = MetaType::kU32;  // of the scalar, or of the elements of an array
  bool is_array = false;
  std::variant<std::uint64_t, std::int64_t, double, std::string, Bytes, std::vector<std::string>> value;

  static MetaValue u32(std::uint32_t v) { return {MetaType::kU32, false, std::uint64_t{v}}; }
  static MetaValue u64(std::uint64_t v) { return {MetaType::kU64, false, v}; }
  static MetaValue f32(float v) { return {MetaType::kF32, false, double{v}}; }
  static MetaValue boolean(bool v) { return {MetaType::kBool, false, std::uint64_t{v}}; }
  static MetaValue string(std::string v) { return {MetaType::kString, false, std::move(v)}; }
  static MetaValue strings(std::vector<std::string> v) { return {MetaType::kString, true, std::move(v)}; }
  static MetaValue i32s(const std::vector<std::int32_t>& v);
  static MetaValue f32s(const std::vector<float>& v);
};

// Keys in file order, unique.
class Metadata {
 public:
  explicit Metadata(std::string file = {}) : file_(std::move(file)) {}
  const std::string& file() const { return file_; }

  // Replaces an existing key in place.
  void set(std::string key, MetaValue value);
  void erase(std::string_view key);
  const MetaValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const std::vector<std::pair<std::string, MetaValue>>& items() const { return items_; }

  // Typed look-ups: nullopt when the key is absent, an Error naming file and key when it has another type or does not
  // fit. Integers convert between widths; integer() accepts any integer or bool type, number() any numeric type.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::optional<std::vector<std::string>> strings(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> integers(
      std::string_view key) const;  // an array, or a scalar as one element
  std::optional<std::vector<double>> numbers(std::string_view key) const;

 private:
  std::string file_;
  std::vector<std::pair<std::string, MetaValue>> items_;
};

}  // namespace lathe::formats
