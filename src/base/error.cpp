#include "base/error.h"

namespace lathe {
namespace {

constexpr std::size_t kLongest = 2048;  // of what and of where, in bytes

// Without its middle when it is too long: names in a hostile file can be as long as the file.
std::string shortened(const std::string& text) {
  if (text.size() <= kLongest) return text;
  return text.substr(0, kLongest / 2) + "..." + text.substr(text.size() - (kLongest / 2 - 3));
}

std::string one_line(const std::string& what, const std::string& where, const std::string& remedy) {
  std::string text = where.empty() ? shortened(what) : shortened(where) + ": " + shortened(what);
  if (!remedy.empty()) text += " (" + remedy + ")";
  // Names come from files and requests: keep control characters off the user's terminal.
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

}  // namespace

Error::Error(std::string what, std::string where, std::string remedy)
    : std::runtime_error(one_line(what, where, remedy)),
      problem_(std::move(what)),
      where_(std::move(where)),
      remedy_(std::move(remedy)) {}

Error Error::within(std::string_view outer) const {
  return Error(problem_, where_.empty() ? std::string(outer) : std::string(outer) + ": " + where_, remedy_);
}

}  // namespace lathe
