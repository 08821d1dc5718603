// The tests behind `is`: defined, none, string, mapping, divisibleby, in and so on.
#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

const Value& subject(const Arguments& args) {
  if (args.positional.size() != 1 || !args.named.empty()) throw EvalError{"this test takes no argument"};
  return args.positional[0];
}

const Value& operand(const Arguments& args) {
  if (args.positional.size() != 2 || !args.named.empty()) throw EvalError{"this test takes one argument"};
  return args.positional[1];
}

template <Kind kKind>
bool is_kind(Interpreter&, Arguments& args) {
  return subject(args).is(kKind);
}

bool is_defined(Interpreter&, Arguments& args) { return !subject(args).undefined(); }
bool is_true(Interpreter&, Arguments& args) { return subject(args).is(Kind::kBool) && subject(args).as_int() != 0; }
bool is_false(Interpreter&, Arguments& args) { return subject(args).is(Kind::kBool) && subject(args).as_int() == 0; }
bool is_number(Interpreter&, Arguments& args) { return subject(args).is_number() || subject(args).is(Kind::kBigInt); }
bool is_integer(Interpreter&, Arguments& args) {
  return subject(args).is(Kind::kInt) || subject(args).is(Kind::kBigInt);
}

bool is_callable(Interpreter&, Arguments& args) {
  // Jinja's undefined has a call operator: the one that throws.
  return subject(args).is(Kind::kCallable) || subject(args).is(Kind::kLoop) || subject(args).undefined();
}

bool is_iterable(Interpreter&, Arguments& args) {
  const Value& value = subject(args);
  return value.is_string() || value.is_items() || value.is_dict() || value.undefined() || value.is(Kind::kLoop);
}

bool is_sequence(Interpreter&, Arguments& args) {
  const Value& value = subject(args);
  if (value.is(Kind::kSequence)) return value.items().label.starts_with("range");
  return value.is_string() || value.is_items() || value.is_dict() || value.undefined();
}

// Whether value % divisor is `rest`.
bool remainder_is(Interpreter& in, const Value& value, std::int64_t divisor, std::int64_t rest) {
  return equal(in.heap(), binary(in.heap(), BinaryOp::kModulo, value, Value::integer(divisor)), Value::integer(rest));
}

bool is_odd(Interpreter& in, Arguments& args) { return remainder_is(in, subject(args), 2, 1); }
bool is_even(Interpreter& in, Arguments& args) { return remainder_is(in, subject(args), 2, 0); }

bool is_divisible(Interpreter& in, Arguments& args) {
  const Value rest = binary(in.heap(), BinaryOp::kModulo, args.positional.at(0), operand(args));
  return equal(in.heap(), rest, Value::integer(0));
}

bool is_equal(Interpreter& in, Arguments& args) { return equal(in.heap(), args.positional[0], operand(args)); }
bool is_not_equal(Interpreter& in, Arguments& args) { return !is_equal(in, args); }
bool is_less(Interpreter& in, Arguments& args) {
  return compare(in.heap(), args.positional[0], operand(args), "<") < 0;
}
bool is_at_most(Interpreter& in, Arguments& args) {
  return compare(in.heap(), args.positional[0], operand(args), "<=") <= 0;
}
bool is_greater(Interpreter& in, Arguments& args) {
  return compare(in.heap(), args.positional[0], operand(args), ">") > 0;
}
bool is_at_least(Interpreter& in, Arguments& args) {
  return compare(in.heap(), args.positional[0], operand(args), ">=") >= 0;
}
bool is_in(Interpreter& in, Arguments& args) { return contains(in.heap(), args.positional[0], operand(args)); }

bool is_same(Interpreter& in, Arguments& args) {
  const Value &a = args.positional[0], &b = operand(args);
  if (a.kind() != b.kind()) return false;
  return a.object() != nullptr ? a.object() == b.object() : equal(in.heap(), a, b);
}

// Whether all cased characters of the text are of one case, and there is one.
template <bool (*kWanted)(char32_t), bool (*kOther)(char32_t)>
bool all_of_case(Interpreter& in, Arguments& args) {
  const std::string text = to_text(in.heap(), subject(args));
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_at(text, at);
    if (kOther(c.value)) return false;
    any |= kWanted(c.value);
    at += c.bytes;
  }
  return any;
}

bool is_escaped(Interpreter&, Arguments& args) { return subject(args).markup(); }
bool is_filter(Interpreter&, Arguments& args) {
  return subject(args).is_string() && find_filter(subject(args).text()) != nullptr;
}
bool is_test(Interpreter&, Arguments& args) {
  return subject(args).is_string() && find_test(subject(args).text()) != nullptr;
}

struct NamedTest {
  std::string_view name;
  Test test;
};

constexpr NamedTest kTests[] = {
    {"defined", is_defined},
    {"undefined", is_kind<Kind::kUndefined>},
    {"none", is_kind<Kind::kNone>},
    {"boolean", is_kind<Kind::kBool>},
    {"true", is_true},
    {"false", is_false},
    {"integer", is_integer},
    {"float", is_kind<Kind::kFloat>},
    {"number", is_number},
    {"string", is_kind<Kind::kString>},
    {"mapping", is_kind<Kind::kDict>},
    {"iterable", is_iterable},
    {"sequence", is_sequence},
    {"callable", is_callable},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible},
    {"sameas", is_same},
    {"in", is_in},
    {"lower", all_of_case<is_lower, is_upper>},
    {"upper", all_of_case<is_upper, is_lower>},
    {"escaped", is_escaped},
    {"filter", is_filter},
    {"test", is_test},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"==", is_equal},
    {"ne", is_not_equal},
    {"!=", is_not_equal},
    {"lt", is_less},
    {"lessthan", is_less},
    {"<", is_less},
    {"le", is_at_most},
    {"<=", is_at_most},
    {"gt", is_greater},
    {"greaterthan", is_greater},
    {">", is_greater},
    {"ge", is_at_least},
    {">=", is_at_least},
};

}  // namespace

Test find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const NamedTest& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found->test;
}

}  // namespace lathe::jinja
