// Statements; expressions are in evaluate.cpp.
#include "text/jinja/interpreter.h"

#include <fmt/core.h>

#include "text/jinja/callables.h"
#include "text/jinja/depth_guard.h"
#include "text/jinja/errors.h"
#include "text/jinja/lexer.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace lathe::jinja {

// Makes a scope the current one, and the former again at the end.
class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter& interpreter, Ref<Scope> scope)
      : interpreter_(interpreter), former_(std::exchange(interpreter.scope_, std::move(scope))) {}
  ~ScopeGuard() { interpreter_.scope_ = std::move(former_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Interpreter& interpreter_;
  Ref<Scope> former_;
};

namespace {

// Sends output into a buffer of its own for the length of a scope.
class OutputGuard {
 public:
  OutputGuard(TextBuilder*& target, TextBuilder& buffer) : target_(target), former_(target) { target = &buffer; }
  ~OutputGuard() { target_ = former_; }
  OutputGuard(const OutputGuard&) = delete;
  OutputGuard& operator=(const OutputGuard&) = delete;

 private:
  TextBuilder*& target_;
  TextBuilder* former_;
};

}  // namespace

const Value* Scope::find(Symbol symbol) const {
  for (const auto& [name, value] : variables_) {
    if (name == symbol) return &value;
  }
  return nullptr;
}

void Scope::set(Symbol symbol, Value value) {
  for (auto& [name, old] : variables_) {
    if (name == symbol) {
      old = std::move(value);
      return;
    }
  }
  grow(sizeof(variables_[0]));
  variables_.emplace_back(symbol, std::move(value));
}

Interpreter::Interpreter(const Template& source, Heap& heap, std::optional<std::tm> now)
    : template_(source), heap_(heap), now_(now), globals_(source.symbols.size()) {}

std::string Interpreter::run(const Value& context) {
  TextBuilder out(heap_);
  const OutputGuard guard(out_, out);
  try {
    for (std::size_t i = 0; i < globals_.size(); ++i) {
      const std::string& name = template_.symbols[i];
      if (const Value* given = context.dict().find(name)) {
        globals_[i] = *given;
      } else if (const Builtin builtin = find_global(name)) {
        globals_[i] = Value::adopt(Kind::kCallable, new BuiltinObject(heap_, name, builtin, Value()));
      }
    }
    execute(template_.body);
  } catch (const EvalError& error) {
    fail_at(template_.name, template_.source, at_, error.message);
  } catch (const Raised& raised) {
    throw text::TemplateRaised(raised.message, place_of(template_.name, template_.source, at_));
  }
  return out.take();
}

Flow Interpreter::execute(const Block& block) {
  const DepthGuard depth(*this);
  for (const auto& statement : block) {
    heap_.step();
    const Flow flow = execute(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow Interpreter::execute(const Stmt& statement) {
  at_ = statement.at;
  switch (statement.kind) {
    case StmtKind::kText:
      out_->append(statement.text);
      break;
    case StmtKind::kOutput: {
      const Value value = evaluate(*statement.expr);
      print(*out_, value);
      break;
    }
    case StmtKind::kIf:
      for (const Branch& branch : statement.branches) {
        if (truthy(evaluate(*branch.condition))) return execute(branch.body);
      }
      return execute(statement.else_body);
    case StmtKind::kFor:
      return execute_loop(statement, evaluate(*statement.expr), scope_, 0);
    case StmtKind::kSet:
      assign(statement.target, evaluate(*statement.expr));
      break;
    case StmtKind::kMacro:
      set_variable(statement.symbol, Value::adopt(Kind::kCallable, new MacroObject(heap_, statement, scope_)));
      break;
    case StmtKind::kCallBlock: {
      const Value caller = Value::adopt(Kind::kCallable, new MacroObject(heap_, statement, scope_));
      print(*out_, evaluate_call(*statement.expr, &caller));
      break;
    }
    case StmtKind::kSetBlock:
    case StmtKind::kFilter:
      return execute_captured(statement);
    case StmtKind::kWith: {
      Flow flow = Flow::kNext;
      execute_with(statement, flow);
      return flow;
    }
    case StmtKind::kScope: {
      const ScopeGuard guard(*this, child_of(scope_));
      return execute(statement.body);
    }
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}.
Flow Interpreter::execute_captured(const Stmt& statement) {
  Value value;
  {
    TextBuilder buffer(heap_);
    const OutputGuard output(out_, buffer);
    const ScopeGuard guard(*this, child_of(scope_));
    const Flow flow = execute(statement.body);
    if (flow != Flow::kNext) return flow;
    value = string(buffer.take());
  }
  at_ = statement.at;
  if (statement.filter != nullptr) value = evaluate_filter(*statement.filter, &value);
  if (statement.kind == StmtKind::kFilter) {
    print(*out_, value);
  } else {
    assign(statement.target, std::move(value));
  }
  return Flow::kNext;
}

void Interpreter::execute_with(const Stmt& statement, Flow& flow) {
  Values values;
  for (const ExprPtr& value : statement.values) values.push_back(evaluate(*value));
  const ScopeGuard guard(*this, child_of(scope_));
  for (std::size_t i = 0; i < values.size(); ++i) assign(statement.targets[i], std::move(values[i]));
  flow = execute(statement.body);
}

Flow Interpreter::execute_loop(const Stmt& statement, const Value& iterable, const Ref<Scope>& outer, int depth) {
  at_ = statement.expr->at;
  auto loop = Ref<LoopObject>::adopt(new LoopObject(*this, statement, outer, iterate(heap_, iterable), depth));
  bool any = false;
  Ref<Scope> scope;
  for (Value item; loop->advance(item); any = true) {
    heap_.step();
    if (scope && scope->unique()) {
      scope->clear();
    } else {
      scope = child_of(outer);
    }
    // The guard's copy would make the scope look shared: hold it only while the body runs.
    const ScopeGuard guard(*this, scope);
    scope->set(kLoopSymbol, Value::of(Kind::kLoop, loop.get()));
    at_ = statement.at;
    assign(statement.target, std::move(item));
    if (execute(statement.body) == Flow::kBreak) return Flow::kNext;
  }
  if (any || statement.else_body.empty()) return Flow::kNext;
  const ScopeGuard guard(*this, child_of(outer));
  return execute(statement.else_body);
}

std::string Interpreter::run_loop(const Stmt& statement, const Value& iterable, const Ref<Scope>& scope, int depth) {
  const DepthGuard guard(*this);
  TextBuilder buffer(heap_);
  const OutputGuard output(out_, buffer);
  execute_loop(statement, iterable, scope, depth);
  return buffer.take();
}

bool Interpreter::passes(const Stmt& loop, Ref<Scope> scope, const Value& item) {
  const std::uint32_t at = at_;
  const ScopeGuard guard(*this, child_of(std::move(scope)));
  at_ = loop.at;
  assign(loop.target, item);
  const bool result = truthy(evaluate(*loop.filter));
  at_ = at;
  return result;
}

std::string Interpreter::capture(const Block& block, Ref<Scope> scope) {
  TextBuilder buffer(heap_);
  const OutputGuard output(out_, buffer);
  const ScopeGuard guard(*this, std::move(scope));
  execute(block);
  return buffer.take();
}

std::string Interpreter::run_macro(const Block& body, const std::vector<const Parameter*>& open, Ref<Scope> scope) {
  const DepthGuard depth(*this);
  {
    const ScopeGuard guard(*this, scope);
    for (const Parameter* parameter : open) {
      scope->set(parameter->symbol, parameter->otherwise != nullptr
                                        ? evaluate(*parameter->otherwise)
                                        : undefined(fmt::format("parameter '{}' was not provided", parameter->name)));
    }
  }
  return capture(body, std::move(scope));
}

void Interpreter::set_variable(Symbol symbol, Value value) {
  if (scope_) {
    scope_->set(symbol, std::move(value));
  } else {
    globals_[symbol] = std::move(value);
  }
}

void Interpreter::assign(const Target& target, Value value) {
  if (target.unpacks) {
    Values items = iterate(heap_, value);
    if (items.size() != target.parts.size()) {
      at_ = target.at;
      throw EvalError{fmt::format("cannot unpack {} values into {} variables", items.size(), target.parts.size())};
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], std::move(items[i]));
  } else if (target.attribute.empty()) {
    set_variable(target.symbol, std::move(value));
  } else {
    at_ = target.at;
    const Value* holder = nullptr;
    for (Scope* scope = scope_.get(); scope != nullptr && holder == nullptr; scope = scope->parent())
      holder = scope->find(target.symbol);
    if (holder == nullptr) holder = &globals_[target.symbol];
    if (!holder->is(Kind::kNamespace)) {
      throw EvalError{
          fmt::format("cannot set '{}': '{}' is no namespace", target.attribute, template_.symbols[target.symbol])};
    }
    holder->dict().set(target.attribute, std::move(value));
  }
}

}  // namespace lathe::jinja
