// Filters that take or give sequences: first, join, map, select, batch and their like.
#include <fmt/core.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/sequence_tools.h"
#include "text/jinja/text_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {

Value attribute_path(Interpreter& in, const Value& item, const Value& path, const Value& otherwise) {
  const auto step = [&](const Value& from, const Value& key) {
    in.heap().step();
    Value next = in.item(from, key);
    return next.undefined() && !otherwise.none_or_absent() ? otherwise : next;
  };
  if (!path.is_string()) return step(item, path);
  Value value = item;
  std::string_view rest = path.text();
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool index =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    value = step(value, index ? Value::integer(std::stoll(std::string(part))) : in.string(std::string(part)));
    if (dot == std::string_view::npos) return value;
    rest = rest.substr(dot + 1);
  }
}

namespace {

Value length_filter(Interpreter&, Arguments& args) {
  return Value::integer(length(bind(args, "length", {"obj"}, 1)[0]));
}

Value default_filter(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "default", {"value", "default_value", "boolean"}, 1);
  if (a[0].undefined() || (truthy(a[2]) && !truthy(a[0]))) return a[1].missing() ? in.string("") : a[1];
  return a[0];
}

Value first(Interpreter& in, Arguments& args) {
  const Value value = bind(args, "first", {"seq"}, 1)[0];
  Values items = iterate(in.heap(), value);
  if (items.empty()) return Value::undefined(in.heap(), "the sequence is empty and has no first item");
  if (value.is(Kind::kSequence) && value.items().generator) {
    value.items().items.assign(std::make_move_iterator(items.begin() + 1), std::make_move_iterator(items.end()));
  }
  return std::move(items.front());
}

Value last(Interpreter& in, Arguments& args) {
  const Value value = bind(args, "last", {"seq"}, 1)[0];
  if (value.is(Kind::kSequence) && value.items().generator) throw EvalError{"'generator' object is not reversible"};
  Values items = iterate(in.heap(), value);
  if (items.empty()) return Value::undefined(in.heap(), "the sequence is empty and has no last item");
  return std::move(items.back());
}

Value list(Interpreter& in, Arguments& args) {
  return Value::list(in.heap(), iterate(in.heap(), bind(args, "list", {"value"}, 1)[0]));
}

Value items(Interpreter& in, Arguments& args) {
  const Value value = bind(args, "items", {"value"}, 1)[0];
  if (value.undefined()) return Value::generator(in.heap(), {});
  if (!value.is_dict()) throw EvalError{"items: can only get item pairs from a mapping"};
  Values pairs;
  for (const auto& [key, item] : value.dict().entries()) pairs.push_back(Value::tuple(in.heap(), {key, item}));
  return Value::generator(in.heap(), std::move(pairs));
}

Value join(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "join", {"value", "d", "attribute"}, 1);
  const std::string separator = a[1].missing() ? "" : to_text(in.heap(), a[1]);
  TextBuilder out(in.heap());
  bool is_first = true;
  for (const Value& item : iterate(in.heap(), a[0])) {
    in.heap().step();
    if (!is_first) out.append(separator);
    is_first = false;
    print(out, a[2].none_or_absent() ? item : attribute_path(in, item, a[2]));
  }
  return in.string(out.take());
}

Value reverse(Interpreter& in, Arguments& args) {
  const Value value = bind(args, "reverse", {"value"}, 1)[0];
  if (value.is_string()) return slice(in.heap(), value, {}, {}, Value::integer(-1));
  Values all = iterate(in.heap(), value);
  std::reverse(all.begin(), all.end());
  const bool plain = value.is(Kind::kSequence) && value.items().generator;
  return plain ? Value::list(in.heap(), std::move(all)) : Value::generator(in.heap(), std::move(all));
}

// map and select take everything false (None, for one) for an empty sequence.
Values items_if_any(Interpreter& in, const Value& value) {
  return truthy(value) ? iterate(in.heap(), value) : Values();
}

Value map(Interpreter& in, Arguments& args) {
  if (args.positional.empty()) throw EvalError{"map needs a sequence"};
  Values mapped;
  Values source = items_if_any(in, args.positional[0]);
  if (args.positional.size() == 1) {
    Value path, otherwise;
    for (const auto& [name, value] : args.named) {
      if (name == "attribute") {
        path = value;
      } else if (name == "default") {
        otherwise = value;
      } else {
        throw EvalError{fmt::format("map has no argument '{}'", name)};
      }
    }
    if (path.missing()) throw EvalError{"map needs a filter's name or 'attribute'"};
    for (const Value& item : source) mapped.push_back(attribute_path(in, item, path, otherwise));
  } else {
    const std::string name = text_argument(args.positional[1], "map: the filter's name");
    for (Value& item : source) {
      in.heap().step();
      Arguments inner;
      inner.positional.push_back(std::move(item));
      inner.positional.insert(inner.positional.end(), args.positional.begin() + 2, args.positional.end());
      inner.named = args.named;
      mapped.push_back(in.apply_filter(name, inner));
    }
  }
  return Value::generator(in.heap(), std::move(mapped));
}

// select and reject, and with an attribute before the test selectattr and rejectattr.
template <bool kWanted, bool kByAttribute>
Value filter_items(Interpreter& in, Arguments& args) {
  constexpr std::size_t kTestAt = kByAttribute ? 2 : 1;
  if (args.positional.size() < kTestAt) throw EvalError{"selectattr and rejectattr need an attribute's name"};
  Values kept;
  for (const Value& item : items_if_any(in, args.positional[0])) {
    in.heap().step();
    const Value subject = kByAttribute ? attribute_path(in, item, args.positional[1]) : item;
    bool holds = false;
    if (args.positional.size() == kTestAt) {
      holds = truthy(subject);
    } else {
      Arguments inner;
      inner.positional.push_back(subject);
      inner.positional.insert(inner.positional.end(), args.positional.begin() + kTestAt + 1, args.positional.end());
      inner.named = args.named;
      holds = in.apply_test(text_argument(args.positional[kTestAt], "the test's name"), inner);
    }
    if (holds == kWanted) kept.push_back(item);
  }
  return Value::generator(in.heap(), std::move(kept));
}

Value batch(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "batch", {"value", "linecount", "fill_with"}, 2);
  const std::int64_t size = int_argument(a[1], 0, "batch: linecount");
  if (size < 1 || static_cast<std::uint64_t>(size) > in.heap().limits().range_items)
    throw EvalError{"batch: linecount is out of range"};
  Values rows, row;
  for (Value& item : iterate(in.heap(), a[0])) {
    if (row.size() == static_cast<std::size_t>(size)) rows.push_back(Value::list(in.heap(), std::exchange(row, {})));
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    if (!a[2].none_or_absent()) row.resize(static_cast<std::size_t>(size), a[2]);
    rows.push_back(Value::list(in.heap(), std::move(row)));
  }
  return Value::generator(in.heap(), std::move(rows));
}

Value slice_filter(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "slice", {"value", "slices", "fill_with"}, 2);
  const std::int64_t count = int_argument(a[1], 0, "slice: slices");
  if (count < 1 || static_cast<std::uint64_t>(count) > in.heap().limits().range_items)
    throw EvalError{"slice: slices is out of range"};
  const Values all = iterate(in.heap(), a[0]);
  const std::size_t n = static_cast<std::size_t>(count), each = all.size() / n, longer = all.size() % n;
  Values slices;
  for (std::size_t i = 0, at = 0; i < n; ++i) {
    const std::size_t size = each + (i < longer ? 1 : 0);
    Values part(all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (!a[2].none_or_absent() && i >= longer) part.push_back(a[2]);
    slices.push_back(Value::list(in.heap(), std::move(part)));
  }
  return Value::generator(in.heap(), std::move(slices));
}

Value attr(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "attr", {"obj", "name"}, 2);
  const std::string& name = text_argument(a[1], "attr: name");
  if (a[0].is_dict() && find_method(a[0], name) == nullptr) {
    return Value::undefined(in.heap(), fmt::format("'dict object' has no attribute '{}'", name));
  }
  return in.attribute(a[0], name);
}

}  // namespace

Builtin find_sequence_filter(std::string_view name) {
  return find_in({{"length", length_filter},
                  {"count", length_filter},
                  {"default", default_filter},
                  {"d", default_filter},
                  {"first", first},
                  {"last", last},
                  {"list", list},
                  {"items", items},
                  {"join", join},
                  {"reverse", reverse},
                  {"map", map},
                  {"select", filter_items<true, false>},
                  {"reject", filter_items<false, false>},
                  {"selectattr", filter_items<true, true>},
                  {"rejectattr", filter_items<false, true>},
                  {"batch", batch},
                  {"slice", slice_filter},
                  {"attr", attr}},
                 name);
}

}  // namespace lathe::jinja
