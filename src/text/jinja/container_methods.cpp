// Python's list and dict methods. Lists and dicts are references: append is seen through every variable.
#include <fmt/core.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace lathe::jinja {
namespace {

Value append(Interpreter&, Arguments& args) {
  const Values a = bind(args, "append", {"self", "object"}, 2);
  a[0].items().push(a[1]);
  return Value::none();
}

Value extend(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "extend", {"self", "iterable"}, 2);
  a[0].items().append(iterate(in.heap(), a[1]));
  return Value::none();
}

Value insert(Interpreter&, Arguments& args) {
  const Values a = bind(args, "insert", {"self", "index", "object"}, 3);
  const std::int64_t size = length(a[0]);
  std::int64_t at = int_argument(a[1], 0, "insert: index");
  if (at < 0) at = std::max<std::int64_t>(at + size, 0);
  a[0].items().insert(static_cast<std::size_t>(at), a[2]);
  return Value::none();
}

Value pop_item(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "pop", {"self", "index"}, 1);
  Values& items = a[0].items().items;
  const auto size = static_cast<std::int64_t>(items.size());
  std::int64_t at = int_argument(a[1], -1, "pop: index");
  if (at < 0) at += size;
  if (at < 0 || at >= size) throw EvalError{size == 0 ? "pop from an empty list" : "pop: the index is out of range"};
  in.heap().step(items.size() / 64);
  Value item = std::move(items[static_cast<std::size_t>(at)]);
  items.erase(items.begin() + at);
  return item;
}

std::size_t position_of(Interpreter& in, const Values& items, const Value& wanted) {
  const auto same = [&](const Value& item) { return equal(in.heap(), item, wanted); };
  return static_cast<std::size_t>(std::find_if(items.begin(), items.end(), same) - items.begin());
}

Value remove(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "remove", {"self", "value"}, 2);
  Values& items = a[0].items().items;
  const std::size_t at = position_of(in, items, a[1]);
  if (at == items.size()) throw EvalError{"remove: the value is not in the list"};
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
  return Value::none();
}

Value index(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "index", {"self", "value"}, 2);
  const std::size_t at = position_of(in, a[0].items().items, a[1]);
  if (at == a[0].items().items.size()) throw EvalError{"index: the value is not in the list"};
  return Value::integer(static_cast<std::int64_t>(at));
}

Value count(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "count", {"self", "value"}, 2);
  const Values& items = a[0].items().items;
  return Value::integer(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(in.heap(), item, a[1]); }));
}

Value clear_list(Interpreter&, Arguments& args) {
  Values().swap(bind(args, "clear", {"self"}, 1)[0].items().items);
  return Value::none();
}

Value copy_list(Interpreter& in, Arguments& args) {
  return Value::list(in.heap(), bind(args, "copy", {"self"}, 1)[0].items().items);
}

Value reverse(Interpreter& in, Arguments& args) {
  Values& items = bind(args, "reverse", {"self"}, 1)[0].items().items;
  in.heap().step(items.size() / 16);
  std::reverse(items.begin(), items.end());
  return Value::none();
}

Value sort(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "sort", {"self", "reverse"}, 1);
  Values items = a[0].items().items;
  const bool reversed = truthy(a[1]);
  std::stable_sort(items.begin(), items.end(), [&](const Value& x, const Value& y) {
    return reversed ? compare(in.heap(), y, x) < 0 : compare(in.heap(), x, y) < 0;
  });
  a[0].items().items = std::move(items);
  return Value::none();
}

enum class View { kKeys, kValues, kItems };

template <View kView>
Value view(Interpreter& in, Arguments& args) {
  const Value self = bind(args, "this method", {"self"}, 1)[0];
  Values items;
  for (const auto& [key, value] : self.dict().entries()) {
    if (kView == View::kItems) {
      items.push_back(Value::tuple(in.heap(), {key, value}));
    } else {
      items.push_back(kView == View::kKeys ? key : value);
    }
  }
  const char* label = kView == View::kKeys ? "dict_keys" : kView == View::kValues ? "dict_values" : "dict_items";
  return Value::sequence(in.heap(), std::move(items), label, false);
}

Value get(Interpreter&, Arguments& args) {
  const Values a = bind(args, "get", {"self", "key", "default"}, 2);
  if (const Value* found = a[0].dict().find(a[1])) return *found;
  return a[2].missing() ? Value::none() : a[2];
}

Value pop_key(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "pop", {"self", "key", "default"}, 2);
  const Value* found = a[0].dict().find(a[1]);
  if (found == nullptr) {
    if (!a[2].missing()) return a[2];
    TextBuilder shown(in.heap());
    print_repr(shown, a[1]);
    throw EvalError{fmt::format("pop: the key {} does not exist", shown.text())};
  }
  Value value = *found;
  a[0].dict().erase(a[1]);
  return value;
}

Value popitem(Interpreter& in, Arguments& args) {
  const Value self = bind(args, "popitem", {"self"}, 1)[0];
  if (self.dict().size() == 0) throw EvalError{"popitem: the dictionary is empty"};
  const auto entry = self.dict().entries().back();
  self.dict().erase(entry.first);
  return Value::tuple(in.heap(), {entry.first, entry.second});
}

Value setdefault(Interpreter&, Arguments& args) {
  const Values a = bind(args, "setdefault", {"self", "key", "default"}, 2);
  if (const Value* found = a[0].dict().find(a[1])) return *found;
  a[0].dict().set(a[1], a[2].missing() ? Value::none() : a[2]);
  return a[2].missing() ? Value::none() : a[2];
}

Value update(Interpreter& in, Arguments& args) {
  const Value self = args.positional.at(0);
  if (args.positional.size() > 2) throw EvalError{"update takes one mapping"};
  if (args.positional.size() == 2) fill_dict(in, self.dict(), args.positional[1]);
  for (const auto& [name, value] : args.named) self.dict().set(name, value);
  return Value::none();
}

Value clear_dict(Interpreter&, Arguments& args) {
  bind(args, "clear", {"self"}, 1)[0].dict().clear();
  return Value::none();
}

Value copy_dict(Interpreter& in, Arguments& args) {
  const Value self = bind(args, "copy", {"self"}, 1)[0];
  Value copy = Value::dict(in.heap());
  fill_dict(in, copy.dict(), self);
  return copy;
}

}  // namespace

void fill_dict(Interpreter& in, DictObject& dict, const Value& source) {
  require_defined(source);
  if (source.is_dict()) {
    const auto entries = source.dict().entries();
    for (const auto& [key, value] : entries) dict.set(key, value);
    return;
  }
  for (const Value& pair : iterate(in.heap(), source)) {
    const Values parts = iterate(in.heap(), pair);
    if (parts.size() != 2) throw EvalError{"a dictionary is made from pairs"};
    dict.set(parts[0], parts[1]);
  }
}

Builtin find_list_method(std::string_view name) {
  return find_in({{"append", append},
                  {"extend", extend},
                  {"insert", insert},
                  {"pop", pop_item},
                  {"remove", remove},
                  {"index", index},
                  {"count", count},
                  {"clear", clear_list},
                  {"copy", copy_list},
                  {"reverse", reverse},
                  {"sort", sort}},
                 name);
}

Builtin find_dict_method(std::string_view name) {
  return find_in({{"items", view<View::kItems>},
                  {"keys", view<View::kKeys>},
                  {"values", view<View::kValues>},
                  {"get", get},
                  {"pop", pop_key},
                  {"popitem", popitem},
                  {"setdefault", setdefault},
                  {"update", update},
                  {"clear", clear_dict},
                  {"copy", copy_dict}},
                 name);
}

}  // namespace lathe::jinja
