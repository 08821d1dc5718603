#include "text/jinja/format.h"

#include <fmt/core.h>

#include <cmath>
#include <optional>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

constexpr int kMaxPrecision = 300;

// [[fill]align][sign][#][0][width][,][.precision][type]
struct Spec {
  std::string fill = " ";
  char align = 0;  // '<' '>' '^' '='
  char sign = '-';
  bool alternate = false;
  std::int64_t width = 0;
  char group = 0;  // ',' or '_'
  std::int64_t precision = -1;
  char type = 0;
};

std::int64_t read_number(std::string_view text, std::size_t& at) {
  std::int64_t number = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = number * 10 + (text[at] - '0');
    if (number > (std::int64_t{1} << 31)) throw EvalError{"a format's width is too large"};
  }
  return number;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

Spec parse_spec(std::string_view text) {
  Spec spec;
  std::size_t at = 0;
  const unsigned first = text.empty() ? 0 : decode_at(text, 0).bytes;
  if (first != 0 && first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (first != 0 && is_align(text[0])) {
    spec.align = text[at++];
  }
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
  if (peek() == '#') spec.alternate = ++at > 0;
  if (peek() == '0') {
    ++at;
    if (spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  spec.width = read_number(text, at);
  if (peek() == ',' || peek() == '_') spec.group = text[at++];
  if (peek() == '.') {
    ++at;
    spec.precision = read_number(text, at);
  }
  if (peek() != '\0') spec.type = text[at++];
  if (at != text.size()) throw EvalError{"invalid format specifier"};
  return spec;
}

void pad(TextBuilder& out, const Spec& spec, std::string_view sign, std::string_view body, char default_align) {
  const auto size = static_cast<std::int64_t>(sign.size() + code_point_count(body));
  const std::int64_t missing = std::max<std::int64_t>(spec.width - size, 0);
  const char align = spec.align != 0 ? spec.align : default_align;
  const std::int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  const auto fill = [&](std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) out.append(spec.fill);
  };
  fill(left);
  out.append(sign);
  if (align == '=') fill(missing);
  out.append(body);
  if (align != '=') fill(missing - left);
}

// Digits left of the point in groups of three.
std::string grouped(std::string digits, char group) {
  if (group == 0) return digits;
  const std::size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
  for (std::size_t at = end; at > 3;) {
    at -= 3;
    digits.insert(at, 1, group);
  }
  return digits;
}

std::string integer_digits(std::uint64_t value, const Spec& spec) {
  switch (spec.type) {
    case 'x':
      return (spec.alternate ? "0x" : "") + fmt::format("{:x}", value);
    case 'X':
      return (spec.alternate ? "0X" : "") + fmt::format("{:X}", value);
    case 'o':
      return (spec.alternate ? "0o" : "") + fmt::format("{:o}", value);
    case 'b':
      return (spec.alternate ? "0b" : "") + fmt::format("{:b}", value);
    default:
      return grouped(std::to_string(value), spec.group);
  }
}

std::string float_digits(double value, const Spec& spec) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  if (spec.precision > kMaxPrecision) throw EvalError{fmt::format("a format's precision exceeds {}", kMaxPrecision)};
  const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  switch (spec.type) {
    case 'f':
    case 'F':
      return grouped(fmt::format("{:.{}f}", value, precision), spec.group);
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case '%':
      return grouped(fmt::format("{:.{}f}%", value * 100, precision), spec.group);
    case 'G':
      return fmt::format("{:.{}G}", value, std::max(precision, 1));
    case 'g':
      return grouped(fmt::format("{:.{}g}", value, std::max(precision, 1)), spec.group);
    default:
      if (spec.precision < 0) return grouped(float_text(value), spec.group);
      return grouped(fmt::format("{:.{}g}", value, std::max(precision, 1)), spec.group);
  }
}

std::string_view sign_text(bool negative, const Spec& spec) {
  return negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

void format_number(TextBuilder& out, const Value& value, const Spec& spec) {
  const bool as_float = value.is(Kind::kFloat) ||
                        (spec.type != 0 && std::string_view("fFeEgG%").find(spec.type) != std::string_view::npos);
  if (as_float) {
    if (spec.type != 0 && std::string_view("fFeEgG%").find(spec.type) == std::string_view::npos) {
      throw EvalError{fmt::format("unknown format code '{}' for a float", spec.type)};
    }
    const double real = value.as_double();
    return pad(out, spec, sign_text(std::signbit(real), spec), float_digits(std::abs(real), spec), '>');
  }
  if (spec.type != 0 && std::string_view("dxXobn").find(spec.type) == std::string_view::npos) {
    throw EvalError{fmt::format("unknown format code '{}' for an integer", spec.type)};
  }
  const std::int64_t number = value.as_int();
  const std::uint64_t magnitude =
      number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  pad(out, spec, sign_text(number < 0, spec), integer_digits(magnitude, spec), '>');
}

void format_text(TextBuilder& out, std::string_view text, Spec spec) {
  if (spec.type != 0 && spec.type != 's')
    throw EvalError{fmt::format("unknown format code '{}' for a string", spec.type)};
  if (spec.align == '=') spec.align = '<';
  if (spec.precision >= 0) text = text.substr(0, byte_offset(text, static_cast<std::size_t>(spec.precision)));
  pad(out, spec, {}, text, '<');
}

void format_value(Heap& heap, TextBuilder& out, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return print(out, value);
  require_defined(value);
  const Spec spec = parse_spec(spec_text);
  if (value.is_number() && !(value.is(Kind::kBool) && spec.type == 0)) return format_number(out, value, spec);
  format_text(out, to_text(heap, value), spec);
}

std::string repr_text(Heap& heap, const Value& value) {
  TextBuilder out(heap);
  print_repr(out, value);
  return out.take();
}

// Reads the values of %: in order, or by %(name)s.
class PercentFormatter {
 public:
  PercentFormatter(Heap& heap, const Value& format, const Value& values)
      : heap_(heap), out_(heap), text_(format.text()), values_(values), markup_(format.markup()) {}

  std::string run() {
    while (at_ < text_.size()) {
      const std::size_t percent = text_.find('%', at_);
      out_.append(text_.substr(at_, percent - at_));
      if (percent == std::string_view::npos) break;
      at_ = percent + 1;
      directive();
    }
    // What could be a mapping may go unused, and to Python everything with subscripts but a tuple or text could.
    const bool may_be_mapping = values_.is_dict() || values_.is_list() || values_.undefined() ||
                                (values_.is(Kind::kSequence) && values_.items().label.starts_with("range"));
    if (!may_be_mapping && next_ < count()) throw EvalError{"not all arguments converted during string formatting"};
    return out_.take();
  }

 private:
  std::size_t count() const { return values_.is(Kind::kTuple) ? values_.items().items.size() : 1; }

  Value next_value() {
    if (next_ >= count()) throw EvalError{"not enough arguments for format string"};
    const std::size_t i = next_++;
    return values_.is(Kind::kTuple) ? values_.items().items[i] : values_;
  }

  Value named_value() {
    const std::size_t close = text_.find(')', at_);
    if (close == std::string_view::npos) throw EvalError{"incomplete format key"};
    const std::string_view name = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (!values_.is_dict()) throw EvalError{"format requires a mapping"};
    const Value* value = values_.dict().find(name);
    if (value == nullptr) throw EvalError{fmt::format("the format's key '{}' is missing", name)};
    return *value;
  }

  std::int64_t star_or_number() {
    if (at_ < text_.size() && text_[at_] == '*') {
      ++at_;
      return int_argument(next_value(), 0, "a format's width");
    }
    return read_number(text_, at_);
  }

  void directive() {
    std::optional<Value> value;
    if (at_ < text_.size() && text_[at_] == '(') value = named_value();
    Spec spec;
    spec.align = '>';
    for (; at_ < text_.size(); ++at_) {
      const char flag = text_[at_];
      if (flag == '-') {
        spec.align = '<';
      } else if (flag == '0') {
        spec.fill = "0";
      } else if (flag == '+') {
        spec.sign = '+';
      } else if (flag == ' ') {
        if (spec.sign != '+') spec.sign = ' ';
      } else if (flag == '#') {
        spec.alternate = true;
      } else {
        break;
      }
    }
    spec.width = star_or_number();
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      spec.precision = star_or_number();
    }
    if (at_ >= text_.size()) throw EvalError{"incomplete format"};
    convert(text_[at_++], spec, value);
  }

  void convert(char type, Spec spec, std::optional<Value>& value) {
    if (type == '%') return out_.append('%');
    if (!value) value = next_value();
    if (type == 's' || type == 'r' || type == 'c') {
      spec.fill = " ";
      const Value shown = markup_ && type == 's' ? html_escape(heap_, *value) : *value;
      return format_text(out_, type == 'r' ? repr_text(heap_, shown) : to_text(heap_, shown), spec);
    }
    if (std::string_view("diuxXofFeEgG").find(type) == std::string_view::npos) {
      throw EvalError{fmt::format("unsupported format character '{}'", type)};
    }
    require_defined(*value);
    if (!value->is_number()) {
      throw EvalError{fmt::format("%{} format: a number is required, not {}", type, value->type_name())};
    }
    if (spec.fill == "0") spec.align = spec.align == '<' ? '<' : '=';
    if (spec.align == '<') spec.fill = " ";
    const bool whole = std::string_view("diuxXo").find(type) != std::string_view::npos;
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    Value number = *value;
    if (whole && number.is(Kind::kFloat)) {
      const double real = number.as_double();
      if (!(std::abs(real) < 9e18)) throw EvalError{"cannot convert float to a 64-bit integer"};
      number = Value::integer(static_cast<std::int64_t>(real));
    }
    format_number(out_, number, spec);
  }

  Heap& heap_;
  TextBuilder out_;
  std::string_view text_;
  const Value& values_;
  const bool markup_;
  std::size_t at_ = 0, next_ = 0;
};

// The value of one replacement field: "", "0", "name", "0.attribute" or "name[key]".
Value field_value(Heap& heap, std::string_view field, const Arguments& arguments, std::size_t& next) {
  const std::size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string_view head = field.substr(0, end);
  Value value;
  if (head.empty() || head.find_first_not_of("0123456789") == std::string_view::npos) {
    std::size_t digits = 0;
    const std::size_t index = head.empty() ? next++ : static_cast<std::size_t>(read_number(head, digits));
    if (index >= arguments.positional.size()) throw EvalError{"not enough arguments for format string"};
    value = arguments.positional[index];
  } else {
    for (const auto& [name, given] : arguments.named) {
      if (name == head) value = given;
    }
    if (value.missing()) throw EvalError{fmt::format("the format's key '{}' is missing", head)};
  }
  for (std::size_t at = end; at < field.size();) {
    if (field[at] != '[') throw EvalError{"str.format: attributes are not supported in replacement fields"};
    const std::size_t close = field.find(']', at);
    if (close == std::string_view::npos) throw EvalError{"str.format: expected ']'"};
    const std::string_view name = field.substr(at + 1, close - at - 1);
    std::size_t digits = 0;
    const bool number = !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
    const Value key = number ? Value::integer(read_number(name, digits)) : Value::string(heap, std::string(name));
    Value found;
    if (!subscript(heap, value, key, found)) throw EvalError{fmt::format("str.format: no item '{}'", name)};
    value = std::move(found);
    at = close + 1;
  }
  return value;
}

}  // namespace

Value percent_format(Heap& heap, const Value& format, const Value& values) {
  std::string text = PercentFormatter(heap, format, values).run();
  return Value::string(heap, std::move(text), format.markup());
}

Value brace_format(Heap& heap, const Value& format, const Arguments& arguments) {
  TextBuilder out(heap);
  const std::string_view text = format.text();
  std::size_t next = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if ((c == '{' || c == '}') && at + 1 < text.size() && text[at + 1] == c) {
      out.append(c);
      at += 2;
    } else if (c == '}') {
      throw EvalError{"str.format: single '}' in format string"};
    } else if (c != '{') {
      const std::size_t end = std::min(text.find_first_of("{}", at), text.size());
      out.append(text.substr(at, end - at));
      at = end;
    } else {
      const std::size_t close = text.find('}', at);
      if (close == std::string_view::npos) throw EvalError{"str.format: expected '}'"};
      std::string_view field = text.substr(at + 1, close - at - 1);
      if (field.find('{') != std::string_view::npos) throw EvalError{"str.format: nested fields are not supported"};
      at = close + 1;
      const std::size_t colon = field.find(':');
      const std::string_view spec = colon == std::string_view::npos ? std::string_view() : field.substr(colon + 1);
      field = field.substr(0, colon);
      const std::size_t bang = field.find('!');
      const std::string_view conversion = bang == std::string_view::npos ? std::string_view() : field.substr(bang + 1);
      const Value value = field_value(heap, field.substr(0, bang), arguments, next);
      if (conversion == "r") {
        format_value(heap, out, Value::string(heap, repr_text(heap, value)), spec);
      } else if (conversion == "s") {
        format_value(heap, out, Value::string(heap, to_text(heap, value)), spec);
      } else if (conversion.empty()) {
        format_value(heap, out, value, spec);
      } else {
        throw EvalError{"str.format: unknown conversion"};
      }
    }
  }
  return Value::string(heap, out.take(), format.markup());
}

}  // namespace lathe::jinja
