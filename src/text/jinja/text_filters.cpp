// Filters that give text: trim, upper, replace, indent, tojson and their like.
#include <fmt/core.h>

#include "base/error.h"
#include "base/json.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/text_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

// A filter that maps the text to another and takes no arguments.
template <std::string (*F)(std::string_view)>
Value map_text(Interpreter& in, Arguments& args) {
  const Value text = as_string(in.heap(), bind(args, "this filter", {"s"}, 1)[0]);
  return string_like(in.heap(), text, F(text.text()));
}

Value trim(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "trim", {"value", "chars"}, 1);
  const Value text = as_string(in.heap(), a[0]);
  std::string_view chars;
  if (!a[1].none_or_absent()) chars = text_argument(a[1], "trim: chars");
  return string_like(in.heap(), text,
                     std::string(strip(text.text(), a[1].none_or_absent() ? nullptr : &chars, true, true)));
}

// Jinja's title: words begin after blanks, hyphens and opening brackets, and nowhere else.
std::string title_words(std::string_view text) {
  std::string out;
  bool begins = true;
  std::size_t word = 0;
  const auto flush = [&](std::size_t end) {
    const std::string_view rest = text.substr(word, end - word);
    if (rest.empty()) return;
    const std::size_t first = decode_at(rest, 0).bytes;
    out += to_upper(rest.substr(0, first));
    out += to_lower(rest.substr(first));
  };
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    const bool separator =
        is_space(c.value) ||
        (c.value < 0x80 && std::string_view("-({[<").find(static_cast<char>(c.value)) != std::string_view::npos);
    if (separator == begins) {
      flush(at);
      word = at;
      begins = !separator;
    }
    at += c.bytes;
  }
  flush(text.size());
  return out;
}

Value replace(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "replace", {"s", "old", "new", "count"}, 3);
  Heap& heap = in.heap();
  const std::string text = to_text(heap, a[0]);
  return in.string(
      replace_text(heap, text, to_text(heap, a[1]), to_text(heap, a[2]), int_argument(a[3], -1, "replace: count")));
}

Value indent(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "indent", {"s", "width", "first", "blank"}, 1);
  Heap& heap = in.heap();
  const Value& text = a[0];
  text_argument(text, "indent's text");
  std::string indentation;
  if (a[1].is_string()) {
    indentation = a[1].text();
  } else {
    const std::int64_t width = std::max<std::int64_t>(int_argument(a[1], 4, "indent: width"), 0);
    heap.check_text(static_cast<std::uint64_t>(width));
    indentation.assign(static_cast<std::size_t>(width), ' ');
  }
  const bool first = truthy(a[2]), blank = truthy(a[3]);
  const std::string with_end = text.text() + "\n";
  TextBuilder out(heap);
  bool is_first = true;
  for (std::string_view line : split_lines(with_end, false)) {
    if (!is_first) out.append('\n');
    if (is_first ? first : blank || !line.empty()) out.append(indentation);
    out.append(line);
    is_first = false;
  }
  return string_like(heap, text, out.take());
}

Value string_filter(Interpreter& in, Arguments& args) {
  return as_string(in.heap(), bind(args, "string", {"s"}, 1)[0]);
}

Value safe(Interpreter& in, Arguments& args) {
  const Value value = bind(args, "safe", {"value"}, 1)[0];
  return value.markup() ? value : Value::string(in.heap(), to_text(in.heap(), value), true);
}

Value escape(Interpreter& in, Arguments& args) { return html_escape(in.heap(), bind(args, "escape", {"s"}, 1)[0]); }

Value force_escape(Interpreter& in, Arguments& args) {
  return html_escape(in.heap(), in.string(to_text(in.heap(), bind(args, "forceescape", {"value"}, 1)[0])));
}

Value format(Interpreter& in, Arguments& args) {
  if (args.positional.empty()) throw EvalError{"format needs a text"};
  if (!args.named.empty() && args.positional.size() > 1)
    throw EvalError{"format takes values by position or by name, not both"};
  const Value text = as_string(in.heap(), args.positional[0]);
  if (args.named.empty()) {
    return percent_format(in.heap(), text,
                          Value::tuple(in.heap(), Values(args.positional.begin() + 1, args.positional.end())));
  }
  Value values = Value::dict(in.heap());
  for (const auto& [name, value] : args.named) values.dict().set(name, value);
  return percent_format(in.heap(), text, values);
}

Value truncate(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "truncate", {"s", "length", "killwords", "end", "leeway"}, 1);
  const Value& value = a[0];
  const std::int64_t limit = int_argument(a[1], 255, "truncate: length"),
                     leeway = int_argument(a[4], 5, "truncate: leeway");
  const std::string end = a[3].missing() ? "..." : text_argument(a[3], "truncate: end");
  const std::int64_t kept = limit - static_cast<std::int64_t>(code_point_count(end));
  if (kept < 0 || leeway < 0)
    throw EvalError{"truncate: the length must be at least that of the end, and the leeway not negative"};
  if (length(value) - leeway <= limit) return value;
  const std::string_view text = text_argument(value, "truncate's text");
  std::string_view head = text.substr(0, byte_offset(text, static_cast<std::size_t>(kept)));
  if (!truthy(a[2])) head = head.substr(0, head.rfind(' '));
  return string_like(in.heap(), value, std::string(head) + end);
}

Value center(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "center", {"value", "width"}, 1);
  const Value text = as_string(in.heap(), a[0]);
  return string_like(in.heap(), text, centered(in.heap(), text.text(), int_argument(a[1], 80, "center: width"), " "));
}

Value wordcount(Interpreter& in, Arguments& args) {
  const std::string text = to_text(in.heap(), bind(args, "wordcount", {"s"}, 1)[0]);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    const bool word = c.value == '_' || is_letter(c.value) || is_numeric(c.value);
    words += word && !inside;
    inside = word;
    at += c.bytes;
  }
  return Value::integer(words);
}

// As transformers defines it: json.dumps without HTML escapes, and characters beyond ASCII as they are.
Value tojson(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "tojson", {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1);
  Heap& heap = in.heap();
  JsonStyle style;
  style.ensure_ascii = truthy(a[1]);
  style.sort_keys = truthy(a[4]);
  if (a[2].is_string()) {
    style.indent = a[2].text();
  } else if (!a[2].none_or_absent()) {
    const std::int64_t width = std::max<std::int64_t>(int_argument(a[2], 0, "tojson: indent"), 0);
    heap.check_text(static_cast<std::uint64_t>(width));
    style.indent = std::string(static_cast<std::size_t>(width), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (!a[3].none_or_absent()) {
    const Values separators = iterate(heap, a[3]);
    if (separators.size() != 2) throw EvalError{"tojson: separators must be two strings"};
    style.item_separator = text_argument(separators[0], "tojson: a separator");
    style.key_separator = text_argument(separators[1], "tojson: a separator");
  }
  require_defined(a[0]);
  TextBuilder out(heap);
  print_json(out, a[0], style);
  return in.string(out.take());
}

// Not in Jinja, but some models' templates rely on it.
Value from_json(Interpreter& in, Arguments& args) {
  const Value text = bind(args, "from_json", {"text"}, 1)[0];
  try {
    return parse_json_value(in.heap(), text_argument(text, "from_json's argument"), "from_json");
  } catch (const Error& error) {
    throw EvalError{error.what()};
  }
}

}  // namespace

Builtin find_text_filter(std::string_view name) {
  return find_in({{"trim", trim},
                  {"upper", map_text<to_upper>},
                  {"lower", map_text<to_lower>},
                  {"title", map_text<title_words>},
                  {"capitalize", map_text<to_capitalized>},
                  {"replace", replace},
                  {"indent", indent},
                  {"string", string_filter},
                  {"safe", safe},
                  {"escape", escape},
                  {"e", escape},
                  {"forceescape", force_escape},
                  {"format", format},
                  {"truncate", truncate},
                  {"center", center},
                  {"wordcount", wordcount},
                  {"tojson", tojson},
                  {"from_json", from_json}},
                 name);
}

}  // namespace lathe::jinja
