#include "text/jinja/printing.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxDataDepth) throw EvalError{fmt::format("a value is nested deeper than {} levels", kMaxDataDepth)};
}

void print_string_repr(TextBuilder& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out.append(quote);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    const std::string_view bytes = text.substr(at, c.bytes);
    at += c.bytes;
    if (c.value == static_cast<unsigned char>(quote) || c.value == '\\') {
      out.append('\\');
      out.append(bytes);
    } else if (c.value == '\n') {
      out.append("\\n");
    } else if (c.value == '\r') {
      out.append("\\r");
    } else if (c.value == '\t') {
      out.append("\\t");
    } else if (is_printable(c.value)) {
      out.append(bytes);
    } else if (c.value < 0x100) {
      out.append(fmt::format("\\x{:02x}", static_cast<unsigned>(c.value)));
    } else if (c.value < 0x10000) {
      out.append(fmt::format("\\u{:04x}", static_cast<unsigned>(c.value)));
    } else {
      out.append(fmt::format("\\U{:08x}", static_cast<unsigned>(c.value)));
    }
  }
  out.append(quote);
}

void print_items(TextBuilder& out, const ListObject& list, std::string_view open, std::string_view close, int depth) {
  out.append(open);
  bool first = true;
  for (const Value& item : list.items) {
    if (!first) out.append(", ");
    first = false;
    print_repr(out, item, depth + 1);
  }
  out.append(close);
}

void print_dict(TextBuilder& out, const DictObject& dict, int depth) {
  out.append('{');
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out.append(", ");
    first = false;
    print_repr(out, key, depth + 1);
    out.append(": ");
    print_repr(out, value, depth + 1);
  }
  out.append('}');
}

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string digits(buffer, end);  // d.ddde+XX
  const std::size_t e = digits.find('e');
  const int exponent = std::stoi(digits.substr(e + 1));
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02d}", digits.substr(0, e), exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  const auto fixed_end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string fixed(buffer, fixed_end);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

void print_repr(TextBuilder& out, const Value& value, int depth) {
  check_depth(depth);
  switch (value.kind()) {
    case Kind::kMissing:
      break;
    case Kind::kUndefined:
      out.append("Undefined");
      break;
    case Kind::kNone:
      out.append("None");
      break;
    case Kind::kBool:
      out.append(value.as_int() != 0 ? "True" : "False");
      break;
    case Kind::kInt:
      out.append(fmt::format_int(value.as_int()).c_str());
      break;
    case Kind::kFloat:
      out.append(float_text(value.as_double()));
      break;
    case Kind::kBigInt:
      out.append(value.text());
      break;
    case Kind::kString:
      if (value.markup()) out.append("Markup(");
      print_string_repr(out, value.text());
      if (value.markup()) out.append(')');
      break;
    case Kind::kList:
      print_items(out, value.items(), "[", "]", depth);
      break;
    case Kind::kTuple:
      print_items(out, value.items(), "(", value.items().items.size() == 1 ? ",)" : ")", depth);
      break;
    case Kind::kSequence: {
      const ListObject& list = value.items();
      out.append(list.label);
      // "dict_items" and the like show their content; ranges and generators are all label.
      if (list.label.starts_with("dict_")) print_items(out, list, "([", "])", depth);
      break;
    }
    case Kind::kDict:
      print_dict(out, value.dict(), depth);
      break;
    case Kind::kNamespace:
      out.append("<Namespace ");
      print_dict(out, value.dict(), depth);
      out.append('>');
      break;
    case Kind::kCallable:
    case Kind::kLoop:
      out.append('<');
      out.append(value.callable().name());
      out.append('>');
      break;
  }
}

void print(TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    out.append(value.text());
  } else if (!value.undefined()) {
    print_repr(out, value);
  }
}

std::string to_text(Heap& heap, const Value& value) {
  if (value.is_string()) return value.text();
  TextBuilder out(heap);
  print(out, value);
  return out.take();
}

}  // namespace lathe::jinja
