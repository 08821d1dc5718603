// What may be done to a text on its way from the call that generated it to those that read it (Parrot, section 4.1:
// string transformations between calls). A closed list: programs bring no code.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::engine {

struct ValueTransform {
  enum class Kind : std::uint8_t { kNone, kTrim, kFirstLine, kJsonField };
  Kind kind = Kind::kNone;
  std::string field;  // of kJsonField

  // "trim" (white space at both ends), "first_line" (of the trimmed text), "json:FIELD" (of the text's JSON object;
  // anything but a string as JSON), "" for none. Throws Error for another name.
  static ValueTransform named(std::string_view name);
  std::string name() const;
  // Throws Error when the text is not what the transformation needs.
  std::string apply(const std::string& text) const;
};

}  // namespace lathe::engine
