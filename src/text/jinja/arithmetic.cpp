// + - * / // % ** as Python defines them; integers that leave 64 bits are an error.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace lathe::jinja {
namespace {

constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void overflow() { throw EvalError{"an integer leaves the range of 64 bits"}; }

[[noreturn]] void division_by_zero() { throw EvalError{"division by zero"}; }

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) division_by_zero();
  if (b == -1) {
    if (a == INT64_MIN) overflow();
    return -a;
  }
  const std::int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw EvalError{"0 cannot be raised to a negative power"};
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return Value::integer(result);
}

Value integer_op(BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      break;
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      break;
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      break;
    case BinaryOp::kDivide:
      if (b == 0) division_by_zero();
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDivide:
      result = floor_divide(a, b);
      break;
    case BinaryOp::kModulo:
      if (b == 0) division_by_zero();
      result = b == -1 ? 0 : a - floor_divide(a, b) * b;
      break;
    case BinaryOp::kPower:
      return integer_power(a, b);
  }
  return Value::integer(result);
}

double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

Value float_op(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::real(a + b);
    case BinaryOp::kSubtract:
      return Value::real(a - b);
    case BinaryOp::kMultiply:
      return Value::real(a * b);
    case BinaryOp::kDivide:
      if (b == 0) division_by_zero();
      return Value::real(a / b);
    case BinaryOp::kFloorDivide:
      if (b == 0) division_by_zero();
      return Value::real(std::nearbyint((a - float_modulo(a, b)) / b));
    case BinaryOp::kModulo:
      if (b == 0) division_by_zero();
      return Value::real(float_modulo(a, b));
    case BinaryOp::kPower: {
      const double power = std::pow(a, b);
      if (std::isnan(power) && !std::isnan(a) && !std::isnan(b))
        throw EvalError{"a complex number is no template value"};
      return Value::real(power);
    }
  }
  return {};
}

Value add_texts(Heap& heap, const Value& a, const Value& b) {
  // Text joined to text that is marked safe is escaped, and the whole is safe.
  const bool markup = a.markup() || b.markup();
  const Value left = markup ? html_escape(heap, a) : a;
  const Value right = markup ? html_escape(heap, b) : b;
  heap.check_text(std::uint64_t{left.text().size()} + right.text().size());
  return Value::string(heap, left.text() + right.text(), markup);
}

Value repeat(Heap& heap, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  const std::uint64_t size = value.is_string() ? value.text().size() : value.items().items.size() * sizeof(Value);
  if (size != 0 && count > heap.limits().output_bytes / size) heap.check_text(UINT64_MAX);
  if (value.is_string()) {
    std::string out;
    if (size != 0) {
      out.reserve(size * count);
      for (std::uint64_t i = 0; i < count; ++i) out += value.text();
    }
    return Value::string(heap, std::move(out), value.markup());
  }
  Values items;
  const Values& source = value.items().items;
  if (!source.empty()) {
    items.reserve(source.size() * count);
    for (std::uint64_t i = 0; i < count; ++i) items.insert(items.end(), source.begin(), source.end());
  }
  return value.is_list() ? Value::list(heap, std::move(items)) : Value::tuple(heap, std::move(items));
}

bool repeatable(const Value& value) { return value.is_string() || value.is_list() || value.is(Kind::kTuple); }

}  // namespace

Value binary(Heap& heap, BinaryOp op, const Value& a, const Value& b) {
  require_defined(a);
  if (op == BinaryOp::kModulo && a.is_string()) return percent_format(heap, a, b);
  require_defined(b);
  if (a.is_integral() && b.is_integral()) return integer_op(op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return float_op(op, a.as_double(), b.as_double());
  if (op == BinaryOp::kAdd) {
    if (a.is_string() && b.is_string()) return add_texts(heap, a, b);
    if (a.kind() == b.kind() && (a.is_list() || a.is(Kind::kTuple))) {
      Values items = a.items().items;
      items.insert(items.end(), b.items().items.begin(), b.items().items.end());
      return a.is_list() ? Value::list(heap, std::move(items)) : Value::tuple(heap, std::move(items));
    }
    if (a.is_string()) throw EvalError{fmt::format("can only concatenate str (not \"{}\") to str", b.type_name())};
  }
  if (op == BinaryOp::kMultiply) {
    if (repeatable(a) && b.is_integral()) return repeat(heap, a, b.as_int());
    if (repeatable(b) && a.is_integral()) return repeat(heap, b, a.as_int());
  }
  throw EvalError{fmt::format("unsupported operand types for {}: '{}' and '{}'", kSymbols[static_cast<int>(op)],
                              a.type_name(), b.type_name())};
}

Value negate(const Value& value) {
  require_defined(value);
  if (value.is(Kind::kFloat)) return Value::real(-value.as_double());
  if (!value.is_integral()) throw EvalError{fmt::format("bad operand type for unary -: '{}'", value.type_name())};
  if (value.as_int() == INT64_MIN) overflow();
  return Value::integer(-value.as_int());
}

}  // namespace lathe::jinja
