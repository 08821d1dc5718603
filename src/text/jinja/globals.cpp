// The functions that every template sees: range, namespace, dict, raise_exception, strftime_now, cycler, joiner.
#include <fmt/core.h>

#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/callables.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace lathe::jinja {
namespace {

Value range(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "range", {"start", "stop", "step"}, 1);
  for (const Value& bound : a) {
    if (bound.is(Kind::kNone) || !(bound.missing() || bound.undefined() || bound.is_integral())) {
      throw EvalError{fmt::format("range needs integers, not {}", bound.type_name())};
    }
  }
  const std::int64_t start = a[1].missing() ? 0 : int_argument(a[0], 0, "range: start");
  const std::int64_t stop = int_argument(a[1].missing() ? a[0] : a[1], 0, "range: stop");
  const std::int64_t step = int_argument(a[2], 1, "range: step");
  if (step == 0) throw EvalError{"range: step must not be zero"};
  const std::uint64_t limit = in.heap().limits().range_items;
  Values items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() >= limit) throw EvalError{fmt::format("range: more than {} items", limit)};
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  std::string label = fmt::format("range({}, {}", start, stop) + (step == 1 ? ")" : fmt::format(", {})", step));
  return Value::sequence(in.heap(), std::move(items), std::move(label), false);
}

Value make_dict(Interpreter& in, Arguments& args) {
  if (args.positional.size() > 1) throw EvalError{"dict and namespace take one mapping"};
  Value dict = Value::dict(in.heap());
  if (!args.positional.empty()) fill_dict(in, dict.dict(), args.positional[0]);
  for (const auto& [name, value] : args.named) dict.dict().set(name, value);
  return dict;
}

Value make_namespace(Interpreter& in, Arguments& args) {
  const Value dict = make_dict(in, args);
  return Value::of(Kind::kNamespace, &dict.dict());
}

Value raise_exception(Interpreter& in, Arguments& args) {
  throw Raised{to_text(in.heap(), bind(args, "raise_exception", {"message"}, 1)[0])};
}

constexpr std::size_t kMaxTimeText = 4096;

Value strftime_now(Interpreter& in, Arguments& args) {
  const std::string format = text_argument(bind(args, "strftime_now", {"format"}, 1)[0], "strftime_now: format");
  std::tm now{};
  if (in.now()) {
    now = *in.now();
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  if (format.empty()) return in.string("");
  std::string text(kMaxTimeText, '\0');
  // A trailing mark tells an empty result ("%p" in some locales) from one that did not fit.
  const std::size_t size = std::strftime(text.data(), text.size(), (format + ".").c_str(), &now);
  if (size == 0) throw EvalError{"strftime_now: the format gives a text that is too long"};
  text.resize(size - 1);
  return in.string(std::move(text));
}

Value cycler(Interpreter& in, Arguments& args) {
  if (args.positional.empty() || !args.named.empty()) throw EvalError{"cycler needs at least one item"};
  return Value::adopt(Kind::kCallable, new CyclerObject(in.heap(), args.positional, false));
}

Value joiner(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "joiner", {"sep"}, 0);
  return Value::adopt(Kind::kCallable, new CyclerObject(in.heap(), {a[0].missing() ? in.string(", ") : a[0]}, true));
}

}  // namespace

Builtin find_global(std::string_view name) {
  return find_in({{"range", range},
                  {"dict", make_dict},
                  {"namespace", make_namespace},
                  {"raise_exception", raise_exception},
                  {"strftime_now", strftime_now},
                  {"cycler", cycler},
                  {"joiner", joiner}},
                 name);
}

}  // namespace lathe::jinja
