// Filters on numbers: int, float, round, abs, sum.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

// The digits of a Python number literal: blanks around and underscores between them removed.
std::optional<std::string> bare_number(std::string_view text) {
  text = strip(text, nullptr, true, true);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !std::isalnum(static_cast<unsigned char>(text[i - 1])) ||
               !std::isalnum(static_cast<unsigned char>(text[i + 1]))) {
      return std::nullopt;
    }
  }
  if (out.starts_with('+') && out.size() > 1 && out[1] != '-') out.erase(0, 1);
  return out;
}

// int(text, base), or nothing when it is no integer.
std::optional<std::int64_t> parse_int(std::string_view text, int base) {
  std::optional<std::string> digits = bare_number(text);
  if (!digits) return std::nullopt;
  const bool negative = digits->starts_with('-');
  if (negative) digits->erase(0, 1);
  if (digits->size() > 2 && (*digits)[0] == '0') {
    const char prefix = static_cast<char>((*digits)[1] | 0x20);
    const int implied = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (implied != 0 && (base == implied || base == 0)) {
      digits->erase(0, 2);
      base = implied;
    }
  }
  if (base == 0) base = 10;
  if (digits->empty() || digits->starts_with('-')) return std::nullopt;
  const std::string signed_digits = (negative ? "-" : "") + *digits;
  std::int64_t value = 0;
  const auto [end, problem] =
      std::from_chars(signed_digits.data(), signed_digits.data() + signed_digits.size(), value, base);
  if (end != signed_digits.data() + signed_digits.size()) return std::nullopt;
  if (problem != std::errc()) throw EvalError{"an integer leaves the range of 64 bits"};
  return value;
}

std::optional<double> parse_float(std::string_view text) {
  const std::optional<std::string> digits = bare_number(text);
  if (!digits || digits->empty()) return std::nullopt;
  double value = 0;
  const auto [end, problem] = std::from_chars(digits->data(), digits->data() + digits->size(), value);
  if (end != digits->data() + digits->size()) return std::nullopt;
  if (problem != std::errc()) return std::nullopt;
  return value;
}

Value whole(double value) {
  if (!(std::abs(value) < 9.2e18)) throw EvalError{"cannot convert this float to a 64-bit integer"};
  return Value::integer(static_cast<std::int64_t>(value));
}

Value to_int(Interpreter&, Arguments& args) {
  const Values a = bind(args, "int", {"value", "default", "base"}, 1);
  Value otherwise = a[1].missing() ? Value::integer(0) : a[1];
  const std::int64_t base = int_argument(a[2], 10, "int: base");
  if (base != 0 && (base < 2 || base > 36)) throw EvalError{"int: base must be 0 or from 2 to 36"};
  require_defined(a[0]);
  if (a[0].is_integral()) return Value::integer(a[0].as_int());
  if (a[0].is(Kind::kFloat)) return std::isfinite(a[0].as_double()) ? whole(a[0].as_double()) : otherwise;
  if (!a[0].is_string()) return otherwise;
  if (const auto value = parse_int(a[0].text(), static_cast<int>(base))) return Value::integer(*value);
  const auto real = parse_float(a[0].text());
  return real && std::isfinite(*real) ? whole(*real) : otherwise;
}

Value to_float(Interpreter&, Arguments& args) {
  const Values a = bind(args, "float", {"value", "default"}, 1);
  Value otherwise = a[1].missing() ? Value::real(0) : a[1];
  require_defined(a[0]);
  if (a[0].is_number()) return Value::real(a[0].as_double());
  if (!a[0].is_string()) return otherwise;
  const auto real = parse_float(a[0].text());
  return real ? Value::real(*real) : otherwise;
}

constexpr std::int64_t kMaxRoundDigits = 300;

double round_half_even(double value, std::int64_t digits) {
  if (!std::isfinite(value)) return value;
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / scale) * scale;
  }
  // Printing rounds the exact binary value correctly, which scaling and rounding does not.
  const std::string text = fmt::format("{:.{}f}", value, static_cast<int>(digits));
  double result = value;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

Value round_filter(Interpreter&, Arguments& args) {
  const Values a = bind(args, "round", {"value", "precision", "method"}, 1);
  require_defined(a[0]);
  if (!a[0].is_number()) throw EvalError{fmt::format("round needs a number, not {}", a[0].type_name())};
  const std::int64_t digits = int_argument(a[1], 0, "round: precision");
  if (digits > kMaxRoundDigits || digits < -kMaxRoundDigits) throw EvalError{"round: the precision is out of range"};
  const std::string method = a[2].missing() ? "common" : text_argument(a[2], "round: method");
  if (method == "common") {
    if (!a[0].is_integral()) return Value::real(round_half_even(a[0].as_double(), digits));
    if (digits >= 0) return Value::integer(a[0].as_int());
    return whole(round_half_even(a[0].as_double(), digits));
  }
  if (method != "ceil" && method != "floor") throw EvalError{"round: method must be common, ceil or floor"};
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = a[0].as_double() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value absolute(Interpreter&, Arguments& args) {
  const Value value = bind(args, "abs", {"x"}, 1)[0];
  require_defined(value);
  if (value.is(Kind::kFloat)) return Value::real(std::abs(value.as_double()));
  if (!value.is_integral()) throw EvalError{fmt::format("abs needs a number, not {}", value.type_name())};
  return value.as_int() < 0 ? negate(value) : Value::integer(value.as_int());
}

Value sum(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "sum", {"iterable", "attribute", "start"}, 1);
  Value total = a[2].missing() ? Value::integer(0) : a[2];
  for (const Value& item : iterate(in.heap(), a[0])) {
    in.heap().step();
    total = binary(in.heap(), BinaryOp::kAdd, total, a[1].none_or_absent() ? item : attribute_path(in, item, a[1]));
  }
  return total;
}

}  // namespace

Builtin find_number_filter(std::string_view name) {
  return find_in({{"int", to_int}, {"float", to_float}, {"round", round_filter}, {"abs", absolute}, {"sum", sum}},
                 name);
}

}  // namespace lathe::jinja
