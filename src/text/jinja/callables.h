// The values that can be called: macros, methods bound to their object, globals, and `loop`.
#pragma once

#include <string>
#include <utility>

#include "text/jinja/interpreter.h"

namespace lathe::jinja {

class MacroObject final : public CallableObject {
 public:
  MacroObject(Heap& heap, const Stmt& statement, Ref<Scope> closure)
      : CallableObject(heap, sizeof(MacroObject)), statement_(statement), closure_(std::move(closure)) {}
  Value call(Interpreter& interpreter, Arguments& arguments) override;
  std::string name() const override { return "macro '" + statement_.text + "'"; }
  const std::string& own_name() const { return statement_.text; }

 private:
  void drop_references() override { closure_ = {}; }
  void set_implicit(Heap& heap, Scope& scope, const Arguments& arguments, std::vector<bool>& used) const;
  const Stmt& statement_;
  Ref<Scope> closure_;
};

// A global, or a method together with the object it was taken from.
class BuiltinObject final : public CallableObject {
 public:
  BuiltinObject(Heap& heap, std::string name, Builtin builtin, Value self)
      : CallableObject(heap, sizeof(BuiltinObject)),
        name_(std::move(name)),
        builtin_(builtin),
        self_(std::move(self)) {}
  Value call(Interpreter& interpreter, Arguments& arguments) override;
  std::string name() const override { return "function '" + name_ + "'"; }

 private:
  void drop_references() override { self_ = Value(); }
  std::string name_;
  Builtin builtin_;
  Value self_;
};

// cycler(...) and joiner(sep): they remember how often they were asked.
class CyclerObject final : public CallableObject {
 public:
  CyclerObject(Heap& heap, Values items, bool joiner)
      : CallableObject(heap, sizeof(CyclerObject)), items_(std::move(items)), joiner_(joiner) {}
  Value call(Interpreter& interpreter, Arguments& arguments) override;
  std::string name() const override { return joiner_ ? "joiner" : "cycler"; }
  Value attribute(Heap& heap, const std::string& name);
  Value next();
  void reset() { at_ = 0; }

 private:
  void drop_references() override { Values().swap(items_); }
  Values items_;
  std::size_t at_ = 0;
  bool joiner_;
};

// The `loop` variable. Items are taken one by one, since a loop's filter may depend on what its body did.
class LoopObject final : public CallableObject {
 public:
  LoopObject(Interpreter& interpreter, const Stmt& statement, Ref<Scope> outer, Values source, int depth);
  // The next item, or false at the end.
  bool advance(Value& item);
  Value attribute(const std::string& name);
  Value call(Interpreter& interpreter, Arguments& arguments) override;  // loop(items) of a recursive loop
  std::string name() const override { return "loop"; }
  Value cycle(const Arguments& arguments) const;
  bool changed(Values values);

 private:
  void drop_references() override;
  bool fetch();  // one more item into ahead_
  std::int64_t length();

  Interpreter& interpreter_;
  const Stmt& statement_;
  Ref<Scope> outer_;
  Values source_;
  std::size_t next_source_ = 0;
  Values ahead_;  // items that passed the filter and wait; taken from ahead_at_ on
  std::size_t ahead_at_ = 0;
  Value previous_, current_, last_changed_;
  std::int64_t index_ = -1;
  int depth_;
};

}  // namespace lathe::jinja
