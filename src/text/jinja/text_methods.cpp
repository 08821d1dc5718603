// Python's str methods that make new strings; those that ask about a string are in text_query_methods.cpp.
#include <fmt/core.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

template <std::string (*F)(std::string_view)>
Value map_method(Interpreter& in, Arguments& args) {
  const Value text = bind(args, "this method", {"self"}, 1)[0];
  return string_like(in.heap(), text, F(text.text()));
}

template <bool kLeft, bool kRight>
Value strip_method(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "strip", {"self", "chars"}, 1);
  std::string_view chars;
  if (!a[1].none_or_absent()) chars = text_argument(a[1], "strip's argument");
  return string_like(in.heap(), a[0],
                     std::string(strip(a[0].text(), a[1].none_or_absent() ? nullptr : &chars, kLeft, kRight)));
}

Values as_values(Interpreter& in, const Value& like, const std::vector<std::string_view>& parts) {
  Values values;
  for (std::string_view part : parts) values.push_back(string_like(in.heap(), like, std::string(part)));
  return values;
}

// str.split() without separator: runs of white space separate, and none stands at the ends.
std::vector<std::string_view> split_blanks(Interpreter& in, std::string_view text, std::int64_t limit,
                                           bool from_right) {
  std::vector<std::string_view> parts;
  text = strip(text, nullptr, !from_right, from_right);
  while (!text.empty()) {
    in.heap().step();
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.push_back(text);  // the rest keeps the blanks at its far end
      break;
    }
    if (from_right) {
      std::size_t begin = 0;
      for (std::size_t at = 0; at < text.size();) {  // the last blank
        const CodePoint c = decode_at(text, at);
        at += c.bytes;
        if (is_space(c.value)) begin = at;
      }
      parts.push_back(text.substr(begin));
      text = strip(text.substr(0, begin), nullptr, false, true);
    } else {
      std::size_t end = 0;
      while (end < text.size() && !is_space(decode_at(text, end).value)) end += decode_at(text, end).bytes;
      parts.push_back(text.substr(0, end));
      text = strip(text.substr(end), nullptr, true, false);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kFromRight>
Value split(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "split", {"self", "sep", "maxsplit"}, 1);
  const std::int64_t limit = int_argument(a[2], -1, "split: maxsplit");
  std::string_view text = a[0].text();
  in.heap().step_bytes(text.size());
  std::vector<std::string_view> parts;
  if (a[1].none_or_absent()) {
    // From the right, each word costs a look through the rest; without a limit the direction does not matter.
    if (kFromRight && limit >= 0)
      in.heap().step(static_cast<std::uint64_t>(std::min<std::int64_t>(limit, 1 << 20)) * (text.size() / 1024));
    parts = split_blanks(in, text, limit, kFromRight && limit >= 0);
    return Value::list(in.heap(), as_values(in, a[0], parts));
  }
  const std::string& separator = text_argument(a[1], "split's separator");
  if (separator.empty()) throw EvalError{"split: empty separator"};
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
    in.heap().step();
    const std::size_t at = kFromRight ? rfind_text(in.heap(), text, separator) : find_text(text, separator, 0);
    if (at == std::string_view::npos) break;
    parts.push_back(kFromRight ? text.substr(at + separator.size()) : text.substr(0, at));
    text = kFromRight ? text.substr(0, at) : text.substr(at + separator.size());
  }
  parts.push_back(text);
  if (kFromRight) std::reverse(parts.begin(), parts.end());
  return Value::list(in.heap(), as_values(in, a[0], parts));
}

Value splitlines(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "splitlines", {"self", "keepends"}, 1);
  return Value::list(in.heap(), as_values(in, a[0], split_lines(a[0].text(), truthy(a[1]))));
}

template <bool kFromRight>
Value partition(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "partition", {"self", "sep"}, 2);
  const std::string_view text = a[0].text();
  const std::string& separator = text_argument(a[1], "partition's separator");
  if (separator.empty()) throw EvalError{"partition: empty separator"};
  const std::size_t at = kFromRight ? rfind_text(in.heap(), text, separator) : find_text(text, separator, 0);
  if (at == std::string_view::npos) {
    return Value::tuple(in.heap(), as_values(in, a[0],
                                             kFromRight ? std::vector<std::string_view>{"", "", text}
                                                        : std::vector<std::string_view>{text, "", ""}));
  }
  return Value::tuple(in.heap(),
                      as_values(in, a[0], {text.substr(0, at), separator, text.substr(at + separator.size())}));
}

Value replace_method(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "replace", {"self", "old", "new", "count"}, 3);
  Heap& heap = in.heap();
  const Value from = a[0].markup() ? html_escape(heap, a[1]) : a[1];
  const Value to = a[0].markup() ? html_escape(heap, a[2]) : a[2];
  return string_like(heap, a[0],
                     replace_text(heap, a[0].text(), text_argument(from, "replace: old"),
                                  text_argument(to, "replace: new"), int_argument(a[3], -1, "replace: count")));
}

Value join_method(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "join", {"self", "iterable"}, 2);
  require_defined(a[1]);
  TextBuilder out(in.heap());
  bool is_first = true;
  for (const Value& item : iterate(in.heap(), a[1])) {
    in.heap().step();
    if (!is_first) out.append(a[0].text());
    is_first = false;
    const Value shown = a[0].markup() ? html_escape(in.heap(), item) : item;
    out.append(text_argument(shown, "an item to join"));
  }
  return string_like(in.heap(), a[0], out.take());
}

enum class Side { kLeft, kRight, kBoth };

template <Side kSide>
Value justify(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "this method", {"self", "width", "fillchar"}, 2);
  const std::string fill = a[2].missing() ? " " : text_argument(a[2], "the fill character");
  if (code_point_count(fill) != 1) throw EvalError{"the fill character must be exactly one character long"};
  const std::int64_t width = int_argument(a[1], 0, "the width");
  const std::string& text = a[0].text();
  if (kSide == Side::kBoth) return string_like(in.heap(), a[0], centered(in.heap(), text, width, fill));
  TextBuilder out(in.heap());
  const std::int64_t missing = width - length(a[0]);
  if (kSide == Side::kLeft) out.append(text);
  for (std::int64_t i = 0; i < missing; ++i) out.append(fill);
  if (kSide == Side::kRight) out.append(text);
  return string_like(in.heap(), a[0], out.take());
}

Value zfill(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "zfill", {"self", "width"}, 2);
  const std::string_view text = a[0].text();
  const bool sign = text.starts_with('-') || text.starts_with('+');
  TextBuilder out(in.heap());
  out.append(text.substr(0, sign ? 1 : 0));
  const std::int64_t missing = int_argument(a[1], 0, "the width") - length(a[0]);
  if (missing > 0) out.append(static_cast<std::size_t>(missing), '0');
  out.append(text.substr(sign ? 1 : 0));
  return string_like(in.heap(), a[0], out.take());
}

template <bool kPrefix>
Value remove_affix(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "this method", {"self", "affix"}, 2);
  std::string_view text = a[0].text();
  const std::string& affix = text_argument(a[1], "the affix");
  if (kPrefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!kPrefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return string_like(in.heap(), a[0], std::string(text));
}

Value expandtabs(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "expandtabs", {"self", "tabsize"}, 1);
  const std::int64_t size = int_argument(a[1], 8, "expandtabs: tabsize");
  const std::string_view text = a[0].text();
  TextBuilder out(in.heap());
  std::int64_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (c.value == '\t') {
      const std::int64_t blanks = size > 0 ? size - column % size : 0;
      out.append(static_cast<std::size_t>(blanks), ' ');
      column += blanks;
    } else {
      out.append(text.substr(at, c.bytes));
      column = c.value == '\n' || c.value == '\r' ? 0 : column + 1;
    }
    at += c.bytes;
  }
  return string_like(in.heap(), a[0], out.take());
}

Value format_method(Interpreter& in, Arguments& args) {
  const Value text = args.positional.at(0);
  args.positional.erase(args.positional.begin());
  return brace_format(in.heap(), text, args);
}

}  // namespace

Builtin find_text_method(std::string_view name) {
  return find_in({{"strip", strip_method<true, true>},
                  {"lstrip", strip_method<true, false>},
                  {"rstrip", strip_method<false, true>},
                  {"split", split<false>},
                  {"rsplit", split<true>},
                  {"splitlines", splitlines},
                  {"partition", partition<false>},
                  {"rpartition", partition<true>},
                  {"replace", replace_method},
                  {"upper", map_method<to_upper>},
                  {"lower", map_method<to_lower>},
                  {"casefold", map_method<to_lower>},
                  {"title", map_method<to_title>},
                  {"capitalize", map_method<to_capitalized>},
                  {"swapcase", map_method<swap_case>},
                  {"join", join_method},
                  {"ljust", justify<Side::kLeft>},
                  {"rjust", justify<Side::kRight>},
                  {"center", justify<Side::kBoth>},
                  {"zfill", zfill},
                  {"removeprefix", remove_affix<true>},
                  {"removesuffix", remove_affix<false>},
                  {"expandtabs", expandtabs},
                  {"format", format_method}},
                 name);
}

}  // namespace lathe::jinja
