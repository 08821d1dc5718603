#include "text/jinja/callables.h"

#include <fmt/core.h>

namespace lathe::jinja {

Value BuiltinObject::call(Interpreter& interpreter, Arguments& arguments) {
  if (!self_.missing()) arguments.positional.insert(arguments.positional.begin(), self_);
  return builtin_(interpreter, arguments);
}

void MacroObject::set_implicit(Heap& heap, Scope& scope, const Arguments& arguments, std::vector<bool>& used) const {
  const std::size_t n = statement_.parameters.size();
  if (statement_.uses_extra) {
    const auto& given = arguments.positional;
    scope.set(kVarargsSymbol,
              Value::tuple(heap, given.size() > n ? Values(given.begin() + static_cast<std::ptrdiff_t>(n), given.end())
                                                  : Values()));
  } else if (arguments.positional.size() > n) {
    throw EvalError{fmt::format("{} takes not more than {} argument(s)", name(), n)};
  }
  Value others = statement_.uses_named ? Value::dict(heap) : Value();
  for (std::size_t i = 0; i < arguments.named.size(); ++i) {
    const auto& [key, value] = arguments.named[i];
    if (used[i]) continue;
    if (key == "caller" && statement_.uses_caller) {
      scope.set(kCallerSymbol, value);
    } else if (statement_.uses_named) {
      others.dict().set(key, value);
    } else {
      throw EvalError{fmt::format("{} takes no keyword argument '{}'", name(), key)};
    }
  }
  if (statement_.uses_named) scope.set(kKwargsSymbol, others);
  if (statement_.uses_caller && scope.find(kCallerSymbol) == nullptr) {
    scope.set(kCallerSymbol, Value::undefined(heap, "no caller is defined"));
  }
}

Value MacroObject::call(Interpreter& interpreter, Arguments& arguments) {
  Heap& heap = interpreter.heap();
  const Value alive = Value::of(Kind::kCallable, this);  // the body may overwrite the variable that holds this macro
  Ref<Scope> scope = interpreter.child_of(closure_);
  std::vector<bool> used(arguments.named.size());
  std::vector<const Parameter*> open;
  for (std::size_t i = 0; i < statement_.parameters.size(); ++i) {
    const Parameter& parameter = statement_.parameters[i];
    Value value = i < arguments.positional.size() ? arguments.positional[i] : Value();
    for (std::size_t j = 0; j < arguments.named.size(); ++j) {
      if (arguments.named[j].first != parameter.name) continue;
      if (!value.missing()) throw EvalError{fmt::format("{} got two values for '{}'", name(), parameter.name)};
      value = arguments.named[j].second;
      used[j] = true;
    }
    if (value.missing()) {
      open.push_back(&parameter);
    } else {
      scope->set(parameter.symbol, std::move(value));
    }
  }
  set_implicit(heap, *scope, arguments, used);
  return Value::string(heap, interpreter.run_macro(statement_.body, open, std::move(scope)));
}

Value CyclerObject::call(Interpreter& interpreter, Arguments&) {
  if (!joiner_) throw EvalError{"a cycler is not callable; use its next()"};
  if (at_++ == 0) return interpreter.string("");
  return items_.front();
}

Value CyclerObject::next() { return items_[at_++ % items_.size()]; }

Value CyclerObject::attribute(Heap& heap, const std::string& name) {
  static constexpr Builtin kNext = [](Interpreter&, Arguments& a) {
    return static_cast<CyclerObject&>(a.positional.at(0).callable()).next();
  };
  static constexpr Builtin kReset = [](Interpreter&, Arguments& a) {
    static_cast<CyclerObject&>(a.positional.at(0).callable()).reset();
    return Value::none();
  };
  if (!joiner_ && name == "current") return items_[at_ % items_.size()];
  if (!joiner_ && (name == "next" || name == "reset")) {
    return Value::adopt(Kind::kCallable, new BuiltinObject(heap, name, name == "next" ? kNext : kReset,
                                                           Value::of(Kind::kCallable, this)));
  }
  return Value::undefined(heap, fmt::format("'{}' has no attribute '{}'", this->name(), name));
}

}  // namespace lathe::jinja
