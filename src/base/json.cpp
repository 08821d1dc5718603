#include "base/json.h"

#include <algorithm>

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace lathe {
namespace {

std::string line_and_column(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte > 0 ? byte - 1 : 0, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t last = before.rfind('\n');
  const std::size_t column = 1 + before.size() - (last == std::string_view::npos ? 0 : last + 1);
  return fmt::format("line {}, column {}", line, column);
}

template <class AnyJson>
AnyJson parse(std::string_view text, std::string_view name, int max_depth) {
  try {
    using Event = typename AnyJson::parse_event_t;
    return AnyJson::parse(text.begin(), text.end(), [&](int depth, Event event, AnyJson&) {
      const bool opens = event == Event::object_start || event == Event::array_start;
      if (opens && depth >= max_depth) fail(name, "JSON is nested deeper than {} levels", max_depth);
      return true;
    });
  } catch (const typename AnyJson::parse_error& error) {
    fail(name, "invalid JSON at {}", line_and_column(text, error.byte));
  } catch (const typename AnyJson::exception&) {
    fail(name, "invalid JSON (a number or a string that cannot be represented)");
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view name, int max_depth) {
  return parse<Json>(text, name, max_depth);
}

nlohmann::json parse_json_sorted(std::string_view text, std::string_view name, int max_depth) {
  return parse<nlohmann::json>(text, name, max_depth);
}

}  // namespace lathe
