// Walks a parsed template and writes its output. One interpreter serves one rendering; the template itself is only
// read.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/value.h"

namespace lathe::jinja {

// The variables of a block; macros keep the scope they were defined in alive.
class Scope final : public Object {
 public:
  Scope(Heap& heap, Ref<Scope> parent) : Object(heap, sizeof(Scope)), parent_(std::move(parent)) {}
  Scope* parent() const { return parent_.get(); }
  const Value* find(Symbol symbol) const;
  void set(Symbol symbol, Value value);
  void clear() { variables_.clear(); }

 private:
  void drop_references() override {
    variables_.clear();
    parent_ = {};
  }
  Ref<Scope> parent_;
  std::vector<std::pair<Symbol, Value>> variables_;
};

// What raise_exception throws inside the interpreter.
struct Raised {
  std::string message;
};

enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

class LoopObject;

class Interpreter {
 public:
  // `now` is what strftime_now shows; the machine's local time when absent.
  Interpreter(const Template& source, Heap& heap, std::optional<std::tm> now);

  // The output with `context` (a dict) as the variables. Throws lathe::Error with the place in the template, and
  // text::TemplateRaised when the template calls raise_exception.
  std::string run(const Value& context);

  // For builtins.
  Heap& heap() { return heap_; }
  const std::optional<std::tm>& now() const { return now_; }
  Value string(std::string text) { return Value::string(heap_, std::move(text)); }
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value call(const Value& callee, Arguments& arguments);
  Value apply_filter(const std::string& name, Arguments& arguments);
  bool apply_test(const std::string& name, Arguments& arguments);

  // For macros and loops.
  Value evaluate(const Expr& expr);
  Flow execute(const Block& block);
  // The output of `block` in `scope`.
  std::string capture(const Block& block, Ref<Scope> scope);
  Ref<Scope> scope() const { return scope_; }
  Ref<Scope> child_of(Ref<Scope> parent) { return Ref<Scope>::adopt(new Scope(heap_, std::move(parent))); }
  bool passes(const Stmt& loop, Ref<Scope> scope, const Value& item);
  // A macro's body in `scope`, once the parameters without argument have their defaults.
  std::string run_macro(const Block& body, const std::vector<const Parameter*>& open, Ref<Scope> scope);
  std::string run_loop(const Stmt& statement, const Value& iterable, const Ref<Scope>& scope, int depth);

 private:
  friend class DepthGuard;
  class ScopeGuard;

  Value evaluate_name(const Expr& expr);
  Value evaluate_conditional(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr, const Value* caller = nullptr);
  Value evaluate_filter(const Expr& expr, const Value* input = nullptr);
  bool evaluate_test(const Expr& expr);
  void evaluate_arguments(const std::vector<Argument>& from, Arguments& to);

  Flow execute(const Stmt& statement);
  Flow execute_loop(const Stmt& statement, const Value& iterable, const Ref<Scope>& outer, int depth);
  Flow execute_captured(const Stmt& statement);
  void execute_with(const Stmt& statement, Flow& flow);
  void assign(const Target& target, Value value);
  void set_variable(Symbol symbol, Value value);
  Value undefined(std::string hint) { return Value::undefined(heap_, std::move(hint)); }

  const Template& template_;
  Heap& heap_;
  std::optional<std::tm> now_;
  std::vector<Value> globals_;  // by symbol: the context, Jinja's globals, and what the template sets at its top level
  Ref<Scope> scope_;            // null at the top level
  TextBuilder* out_ = nullptr;
  std::uint32_t at_ = 0;  // the node that runs now, for errors
  int depth_ = 0;
};

}  // namespace lathe::jinja
