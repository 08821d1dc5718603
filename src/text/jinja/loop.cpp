// The `loop` variable: its counters, its neighbours, and recursion.
#include <fmt/core.h>

#include "text/jinja/callables.h"
#include "text/jinja/operators.h"

namespace lathe::jinja {
namespace {

LoopObject& loop_of(const Arguments& arguments) {
  return static_cast<LoopObject&>(arguments.positional.at(0).callable());
}

}  // namespace

LoopObject::LoopObject(Interpreter& interpreter, const Stmt& statement, Ref<Scope> outer, Values source, int depth)
    : CallableObject(interpreter.heap(), sizeof(LoopObject) + source.size() * sizeof(Value)),
      interpreter_(interpreter),
      statement_(statement),
      outer_(std::move(outer)),
      source_(std::move(source)),
      depth_(depth) {}

void LoopObject::drop_references() {
  Values().swap(source_);
  Values().swap(ahead_);
  outer_ = {};
  previous_ = current_ = last_changed_ = Value();
}

bool LoopObject::fetch() {
  while (next_source_ < source_.size()) {
    Value item = std::move(source_[next_source_++]);
    if (statement_.filter == nullptr || interpreter_.passes(statement_, outer_, item)) {
      ahead_.push_back(std::move(item));
      return true;
    }
  }
  return false;
}

bool LoopObject::advance(Value& item) {
  if (ahead_at_ == ahead_.size()) {
    ahead_.clear();
    ahead_at_ = 0;
    if (!fetch()) return false;
  }
  if (index_ >= 0) previous_ = std::move(current_);
  current_ = std::move(ahead_[ahead_at_++]);
  item = current_;
  ++index_;
  return true;
}

std::int64_t LoopObject::length() {
  while (fetch()) {
  }
  return index_ + 1 + static_cast<std::int64_t>(ahead_.size() - ahead_at_);
}

Value LoopObject::attribute(const std::string& name) {
  Heap& heap = interpreter_.heap();
  const auto has_next = [&] { return ahead_at_ < ahead_.size() || fetch(); };
  if (name == "index") return Value::integer(index_ + 1);
  if (name == "index0") return Value::integer(index_);
  if (name == "first") return Value::boolean(index_ == 0);
  if (name == "last") return Value::boolean(!has_next());
  if (name == "length") return Value::integer(length());
  if (name == "revindex") return Value::integer(length() - index_);
  if (name == "revindex0") return Value::integer(length() - index_ - 1);
  if (name == "depth") return Value::integer(depth_ + 1);
  if (name == "depth0") return Value::integer(depth_);
  if (name == "previtem") {
    return index_ > 0 ? previous_ : Value::undefined(heap, "there is no previous item");
  }
  if (name == "nextitem") {
    return has_next() ? ahead_[ahead_at_] : Value::undefined(heap, "there is no next item");
  }
  static constexpr Builtin kCycle = [](Interpreter&, Arguments& a) { return loop_of(a).cycle(a); };
  static constexpr Builtin kChanged = [](Interpreter&, Arguments& a) {
    return Value::boolean(loop_of(a).changed(Values(a.positional.begin() + 1, a.positional.end())));
  };
  if (name == "cycle" || name == "changed") {
    const Builtin builtin = name == "cycle" ? kCycle : kChanged;
    return Value::adopt(Kind::kCallable, new BuiltinObject(heap, name, builtin, Value::of(Kind::kLoop, this)));
  }
  return Value::undefined(heap, fmt::format("'loop' has no attribute '{}'", name));
}

Value LoopObject::cycle(const Arguments& arguments) const {
  const std::size_t count = arguments.positional.size() - 1;
  if (count == 0) throw EvalError{"loop.cycle needs something to cycle through"};
  return arguments.positional[1 + static_cast<std::size_t>(index_) % count];
}

bool LoopObject::changed(Values values) {
  Value now = Value::tuple(interpreter_.heap(), std::move(values));
  const bool same = !last_changed_.missing() && equal(interpreter_.heap(), last_changed_, now);
  last_changed_ = std::move(now);
  return !same;
}

Value LoopObject::call(Interpreter& interpreter, Arguments& arguments) {
  if (!statement_.recursive) throw EvalError{"loop(...) needs a loop with the 'recursive' modifier"};
  if (arguments.positional.size() != 1) throw EvalError{"loop(...) takes one argument"};
  const Value alive = Value::of(Kind::kLoop, this);
  return interpreter.string(interpreter.run_loop(statement_, arguments.positional[0], outer_, depth_ + 1));
}

}  // namespace lathe::jinja
