// Expressions: names, attributes, calls, operators.
#include <fmt/core.h>

#include "text/jinja/callables.h"
#include "text/jinja/depth_guard.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace lathe::jinja {
namespace {

// "'dict object' has no attribute 'x'", as Jinja words it.
std::string no_attribute(const Value& object, std::string_view name) {
  const std::string owner = object.is(Kind::kNone) ? "None" : fmt::format("{} object", object.type_name());
  return fmt::format("'{}' has no attribute '{}'", owner, name);
}

}  // namespace

Value Interpreter::evaluate(const Expr& expr) {
  heap_.step();
  at_ = expr.at;
  // Leaves need no guard.
  if (expr.kind == ExprKind::kLiteral) return expr.value;
  if (expr.kind == ExprKind::kName) return evaluate_name(expr);
  const DepthGuard depth(*this);
  const auto child = [&](std::size_t i) { return evaluate(*expr.children[i]); };
  const auto children = [&] {
    Values values;
    for (const ExprPtr& node : expr.children) values.push_back(evaluate(*node));
    return values;
  };
  switch (expr.kind) {
    case ExprKind::kList:
      return Value::list(heap_, children());
    case ExprKind::kTuple:
      return Value::tuple(heap_, children());
    case ExprKind::kDict:
      return evaluate_dict(expr);
    case ExprKind::kAttribute: {
      const Value object = child(0);
      at_ = expr.at;
      return attribute(object, expr.text);
    }
    case ExprKind::kSubscript: {
      const Value object = child(0), key = child(1);
      at_ = expr.at;
      return item(object, key);
    }
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return evaluate_call(expr);
    case ExprKind::kFilter:
      return evaluate_filter(expr);
    case ExprKind::kTest:
      return Value::boolean(evaluate_test(expr));
    case ExprKind::kNot:
      return Value::boolean(!truthy(child(0)));
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      Value value;
      for (const ExprPtr& node : expr.children) {
        value = evaluate(*node);
        if (truthy(value) == (expr.kind == ExprKind::kOr)) break;
      }
      return value;
    }
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kBinary: {
      const Value left = child(0), right = child(1);
      at_ = expr.at;
      return binary(heap_, expr.op, left, right);
    }
    case ExprKind::kNegate: {
      const Value value = child(0);
      at_ = expr.at;
      return negate(value);
    }
    case ExprKind::kPlus: {
      const Value value = child(0);
      at_ = expr.at;
      require_defined(value);
      if (!value.is_number()) throw EvalError{fmt::format("bad operand type for unary +: '{}'", value.type_name())};
      return value.is(Kind::kBool) ? Value::integer(value.as_int()) : value;
    }
    case ExprKind::kConditional:
      return evaluate_conditional(expr);
    default:
      return Value::none();
  }
}

Value Interpreter::evaluate_name(const Expr& expr) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent()) {
    if (const Value* value = scope->find(expr.symbol)) return *value;
  }
  if (!globals_[expr.symbol].missing()) return globals_[expr.symbol];
  return undefined(fmt::format("'{}' is undefined", expr.text));
}

Value Interpreter::evaluate_conditional(const Expr& expr) {
  if (truthy(evaluate(*expr.children[1]))) return evaluate(*expr.children[0]);
  if (expr.children[2] != nullptr) return evaluate(*expr.children[2]);
  return undefined("the inline if-expression is false and has no else");
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  Value result = Value::dict(heap_);
  for (std::size_t i = 0; i + 1 < expr.children.size(); i += 2) {
    Value key = evaluate(*expr.children[i]);
    Value value = evaluate(*expr.children[i + 1]);
    at_ = expr.children[i]->at;
    result.dict().set(std::move(key), std::move(value));
  }
  return result;
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value object = evaluate(*expr.children[0]);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1] != nullptr) bounds[i] = evaluate(*expr.children[i + 1]);
  }
  at_ = expr.at;
  return slice(heap_, object, bounds[0], bounds[1], bounds[2]);
}

Value Interpreter::evaluate_compare(const Expr& expr) {
  static constexpr std::string_view kSymbols[] = {"==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  Value left = evaluate(*expr.children[0]);
  for (std::size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    at_ = expr.at;
    const Comparison op = expr.comparisons[i];
    const auto order = [&] { return compare(heap_, left, right, kSymbols[static_cast<int>(op)]); };
    bool holds = false;
    switch (op) {
      case Comparison::kEqual:
        holds = equal(heap_, left, right);
        break;
      case Comparison::kNotEqual:
        holds = !equal(heap_, left, right);
        break;
      case Comparison::kLess:
        holds = order() < 0;
        break;
      case Comparison::kLessEqual:
        holds = order() <= 0;
        break;
      case Comparison::kGreater:
        holds = order() > 0;
        break;
      case Comparison::kGreaterEqual:
        holds = order() >= 0;
        break;
      case Comparison::kIn:
        holds = contains(heap_, left, right);
        break;
      case Comparison::kNotIn:
        holds = !contains(heap_, left, right);
        break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  TextBuilder out(heap_);
  for (const ExprPtr& node : expr.children) {
    const Value value = evaluate(*node);
    at_ = node->at;
    print(out, value);
  }
  return string(out.take());
}

void Interpreter::evaluate_arguments(const std::vector<Argument>& from, Arguments& to) {
  for (const Argument& argument : from) {
    Value value = evaluate(*argument.value);
    switch (argument.kind) {
      case Argument::Kind::kPositional:
        to.positional.push_back(std::move(value));
        break;
      case Argument::Kind::kNamed:
        to.named.emplace_back(argument.name, std::move(value));
        break;
      case Argument::Kind::kSpread:
        for (Value& item : iterate(heap_, value)) to.positional.push_back(std::move(item));
        break;
      case Argument::Kind::kSpreadNamed:
        require_defined(value);
        if (!value.is_dict()) throw EvalError{"the value after ** is no dict"};
        for (const auto& [key, item] : value.dict().entries()) {
          if (!key.is_string()) throw EvalError{"keywords must be strings"};
          to.named.emplace_back(key.text(), item);
        }
        break;
    }
  }
}

Value Interpreter::evaluate_call(const Expr& expr, const Value* caller) {
  const Expr& callee = *expr.children[0];
  Arguments arguments;
  Builtin method = nullptr;
  Value function;
  if (callee.kind == ExprKind::kAttribute) {
    // A method is called directly, without making it a value first.
    Value object = evaluate(*callee.children[0]);
    at_ = callee.at;
    method = find_method(object, callee.text);
    if (method != nullptr) {
      arguments.positional.push_back(std::move(object));
    } else {
      function = attribute(object, callee.text);
    }
  } else {
    function = evaluate(callee);
  }
  evaluate_arguments(expr.arguments, arguments);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  at_ = expr.at;
  return method != nullptr ? method(*this, arguments) : call(function, arguments);
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  require_defined(callee);
  if (!callee.is(Kind::kCallable) && !callee.is(Kind::kLoop)) {
    throw EvalError{fmt::format("'{}' object is not callable", callee.type_name())};
  }
  return callee.callable().call(*this, arguments);
}

Value Interpreter::evaluate_filter(const Expr& expr, const Value* input) {
  Arguments arguments;
  if (expr.children[0] == nullptr) {
    arguments.positional.push_back(*input);
  } else if (input != nullptr) {
    arguments.positional.push_back(evaluate_filter(*expr.children[0], input));
  } else {
    arguments.positional.push_back(evaluate(*expr.children[0]));
  }
  evaluate_arguments(expr.arguments, arguments);
  at_ = expr.at;
  if (expr.filter == nullptr) throw EvalError{fmt::format("unknown filter '{}'", expr.text)};
  return expr.filter(*this, arguments);
}

bool Interpreter::evaluate_test(const Expr& expr) {
  Arguments arguments;
  arguments.positional.push_back(evaluate(*expr.children[0]));
  evaluate_arguments(expr.arguments, arguments);
  at_ = expr.at;
  if (expr.test == nullptr) throw EvalError{fmt::format("unknown test '{}'", expr.text)};
  return expr.test(*this, arguments);
}

Value Interpreter::apply_filter(const std::string& name, Arguments& arguments) {
  const DepthGuard depth(*this);
  const Builtin filter = find_filter(name);
  if (filter == nullptr) throw EvalError{fmt::format("unknown filter '{}'", name)};
  return filter(*this, arguments);
}

bool Interpreter::apply_test(const std::string& name, Arguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) throw EvalError{fmt::format("unknown test '{}'", name)};
  return test(*this, arguments);
}

// As Jinja reads object.name: what Python's type has under that name comes before a dict's keys.
Value Interpreter::attribute(const Value& object, const std::string& name) {
  require_defined(object);
  if (const Builtin method = find_method(object, name)) {
    return Value::adopt(Kind::kCallable, new BuiltinObject(heap_, name, method, object));
  }
  if (object.is_dict() || object.is(Kind::kNamespace)) {
    const Value* found = object.dict().find(std::string_view(name));
    if (found != nullptr) return *found;
  } else if (object.is(Kind::kLoop)) {
    return static_cast<LoopObject&>(object.callable()).attribute(name);
  } else if (object.is(Kind::kCallable)) {
    if (auto* cycler = dynamic_cast<CyclerObject*>(object.object())) return cycler->attribute(heap_, name);
    const auto* macro = dynamic_cast<MacroObject*>(object.object());
    if (macro != nullptr && name == "name") return string(macro->own_name());
  } else if (object.is(Kind::kTuple) && object.items().label == kGroupLabel) {
    if (name == "grouper") return object.items().items[0];
    if (name == "list") return object.items().items[1];
  }
  return undefined(no_attribute(object, name));
}

// As Jinja reads object[key]: items come before attributes.
Value Interpreter::item(const Value& object, const Value& key) {
  Value found;
  if (subscript(heap_, object, key, found)) return found;
  if (key.is_string()) return attribute(object, key.text());
  TextBuilder shown(heap_);
  print_repr(shown, key);
  return undefined(fmt::format("'{} object' has no element {}", object.type_name(), shown.text()));
}

}  // namespace lathe::jinja
