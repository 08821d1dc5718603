// Python's str methods that ask about a string: find, count, startswith, isdigit and their like.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

// The part of a string that start and end choose, and where it begins (in bytes); `valid` is false when start lies
// behind the end.
struct Part {
  std::string_view text;
  std::size_t begin = 0;
  bool valid = true;
};

Part part_of(Interpreter& in, const Value& value, const Value& start, const Value& end) {
  const std::string_view text = value.text();
  in.heap().step_bytes(text.size());
  if (start.none_or_absent() && end.none_or_absent()) return {text};
  const std::int64_t size = length(value);
  const auto clip = [&](const Value& bound, std::int64_t otherwise) {
    const std::int64_t at = int_argument(bound, otherwise, "start and end");
    return at < 0 ? std::max<std::int64_t>(at + size, 0) : at;
  };
  const std::int64_t from = clip(start, 0), to = std::min(clip(end, size), size);
  if (from > to) return {{}, 0, false};
  const std::size_t begin = byte_offset(text, static_cast<std::size_t>(from));
  const std::string_view rest = text.substr(begin);
  return {rest.substr(0, byte_offset(rest, static_cast<std::size_t>(to - from))), begin};
}

template <bool kFromRight, bool kMustExist>
Value find(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "find", {"self", "sub", "start", "end"}, 2);
  const std::string& needle = text_argument(a[1], "the text to find");
  const Part part = part_of(in, a[0], a[2], a[3]);
  std::size_t at = std::string_view::npos;
  if (part.valid) at = kFromRight ? rfind_text(in.heap(), part.text, needle) : find_text(part.text, needle, 0);
  if (at != std::string_view::npos) {
    return Value::integer(
        static_cast<std::int64_t>(code_point_count(std::string_view(a[0].text()).substr(0, part.begin + at))));
  }
  if (kMustExist) throw EvalError{"substring not found"};
  return Value::integer(-1);
}

Value count(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "count", {"self", "sub", "start", "end"}, 2);
  const std::string& needle = text_argument(a[1], "the text to count");
  const Part part = part_of(in, a[0], a[2], a[3]);
  if (!part.valid) return Value::integer(0);
  if (needle.empty()) return Value::integer(static_cast<std::int64_t>(code_point_count(part.text)) + 1);
  std::int64_t found = 0;
  for (std::size_t at = 0; (at = find_text(part.text, needle, at)) != std::string_view::npos; at += needle.size())
    ++found;
  return Value::integer(found);
}

template <bool kStart>
Value starts_or_ends(Interpreter& in, Arguments& args) {
  const Values a = bind(args, kStart ? "startswith" : "endswith", {"self", "affix", "start", "end"}, 2);
  const Part part = part_of(in, a[0], a[2], a[3]);
  const auto matches = [&](const Value& affix) {
    const std::string& text = text_argument(affix, "the first argument of startswith and endswith");
    return part.valid && (kStart ? part.text.starts_with(text) : part.text.ends_with(text));
  };
  if (!a[1].is(Kind::kTuple)) return Value::boolean(matches(a[1]));
  for (const Value& affix : a[1].items().items) {
    if (matches(affix)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

// Whether the text is not empty and all of it is of one class.
template <class F>
bool all_are(const Value& value, F f) {
  const std::string_view text = value.text();
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (!f(c.value)) return false;
    at += c.bytes;
  }
  return !text.empty();
}

template <bool (*F)(char32_t)>
Value is_class(Interpreter&, Arguments& args) {
  return Value::boolean(all_are(bind(args, "this method", {"self"}, 1)[0], F));
}

bool is_alphanumeric(char32_t c) { return is_letter(c) || is_numeric(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

template <bool (*kWanted)(char32_t), bool (*kOther)(char32_t)>
Value is_case(Interpreter&, Arguments& args) {
  const Value value = bind(args, "this method", {"self"}, 1)[0];
  bool any = false;
  const bool none_other = all_are(value, [&](char32_t c) {
    any |= kWanted(c);
    return !kOther(c);
  });
  return Value::boolean(any && none_other);
}

}  // namespace

Builtin find_text_query_method(std::string_view name) {
  return find_in({{"find", find<false, false>},
                  {"rfind", find<true, false>},
                  {"index", find<false, true>},
                  {"rindex", find<true, true>},
                  {"count", count},
                  {"startswith", starts_or_ends<true>},
                  {"endswith", starts_or_ends<false>},
                  {"isalpha", is_class<is_letter>},
                  {"isalnum", is_class<is_alphanumeric>},
                  {"isdigit", is_class<is_digit>},
                  {"isdecimal", is_class<is_decimal>},
                  {"isnumeric", is_class<is_numeric>},
                  {"isspace", is_class<is_space>},
                  {"isascii", is_class<is_ascii>},
                  {"isupper", is_case<is_upper, is_lower>},
                  {"islower", is_case<is_lower, is_upper>}},
                 name);
}

}  // namespace lathe::jinja
