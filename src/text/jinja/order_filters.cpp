// Filters that compare items: sort, unique, groupby, dictsort, min, max.
#include <fmt/core.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence_tools.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {

Value without_case(Interpreter& in, const Value& value) {
  return value.is_string() ? in.string(to_lower(value.text())) : value;
}

namespace {

struct Keyed {
  Values keys;
  Value item;
};

// Several keys compare as Python's lists do: the first two that are not equal decide. A lone key must have an order.
int compare_keys(Heap& heap, const Values& a, const Values& b, bool as_list) {
  if (!as_list) return compare(heap, a[0], b[0]);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!equal(heap, a[i], b[i])) return compare(heap, a[i], b[i]);
  }
  return 0;
}

void sort_keyed(Heap& heap, std::vector<Keyed>& items, bool reverse, bool as_list) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? compare_keys(heap, b.keys, a.keys, as_list) < 0 : compare_keys(heap, a.keys, b.keys, as_list) < 0;
  });
}

// The value that an item is compared by.
Value key_of(Interpreter& in, const Value& item, const Value& path, bool case_sensitive, const Value& otherwise = {}) {
  const Value value = path.none_or_absent() ? item : attribute_path(in, item, path, otherwise);
  return case_sensitive ? value : without_case(in, value);
}

Value sort(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "sort", {"value", "reverse", "case_sensitive", "attribute"}, 1);
  Values paths;  // several attributes are separated by commas
  if (a[3].is_string()) {
    std::string_view rest = a[3].text();
    for (std::size_t comma = 0; comma != std::string_view::npos; rest = rest.substr(std::min(rest.size(), comma + 1))) {
      comma = rest.find(',');
      paths.push_back(in.string(std::string(rest.substr(0, comma))));
      if (comma == std::string_view::npos) break;
    }
  } else {
    paths.push_back(a[3]);
  }
  std::vector<Keyed> keyed;
  for (Value& item : iterate(in.heap(), a[0])) {
    Keyed entry;
    for (const Value& path : paths) entry.keys.push_back(key_of(in, item, path, truthy(a[2])));
    entry.item = std::move(item);
    keyed.push_back(std::move(entry));
  }
  sort_keyed(in.heap(), keyed, truthy(a[1]), true);
  Values sorted;
  for (Keyed& entry : keyed) sorted.push_back(std::move(entry.item));
  return Value::list(in.heap(), std::move(sorted));
}

Value dictsort(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "dictsort", {"value", "case_sensitive", "by", "reverse"}, 1);
  const std::string by = a[2].missing() ? "key" : text_argument(a[2], "dictsort: by");
  if (by != "key" && by != "value") throw EvalError{"dictsort: by must be \"key\" or \"value\""};
  require_defined(a[0]);
  if (!a[0].is_dict()) throw EvalError{fmt::format("dictsort needs a mapping, not {}", a[0].type_name())};
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : a[0].dict().entries()) {
    keyed.push_back({{key_of(in, by == "key" ? key : value, {}, truthy(a[1]))}, Value::tuple(in.heap(), {key, value})});
  }
  sort_keyed(in.heap(), keyed, truthy(a[3]), false);
  Values sorted;
  for (Keyed& entry : keyed) sorted.push_back(std::move(entry.item));
  return Value::list(in.heap(), std::move(sorted));
}

Value unique(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "unique", {"value", "case_sensitive", "attribute"}, 1);
  const Value seen = Value::dict(in.heap());
  Values kept;
  for (Value& item : iterate(in.heap(), a[0])) {
    const Value key = key_of(in, item, a[2], truthy(a[1]));
    if (seen.dict().find(key) != nullptr) continue;
    seen.dict().set(key, Value::none());
    kept.push_back(std::move(item));
  }
  return Value::generator(in.heap(), std::move(kept));
}

Value groupby(Interpreter& in, Arguments& args) {
  const Values a = bind(args, "groupby", {"value", "attribute", "default", "case_sensitive"}, 2);
  const bool case_sensitive = truthy(a[3]);
  std::vector<Keyed> keyed;
  for (const Value& item : iterate(in.heap(), a[0]))
    keyed.push_back({{key_of(in, item, a[1], case_sensitive, a[2])}, item});
  sort_keyed(in.heap(), keyed, false, false);
  Values groups;
  for (std::size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    Values members;
    while (end < keyed.size() && equal(in.heap(), keyed[begin].keys[0], keyed[end].keys[0]))
      members.push_back(keyed[end++].item);
    if (members.empty()) members.push_back(keyed[end++].item);  // a key that does not equal itself
    const Value grouper = key_of(in, keyed[begin].item, a[1], true, a[2]);
    Values pair{grouper, Value::list(in.heap(), std::move(members))};
    groups.push_back(
        Value::adopt(Kind::kTuple, new ListObject(in.heap(), std::move(pair), std::string(kGroupLabel), false)));
  }
  return Value::list(in.heap(), std::move(groups));
}

template <bool kMax>
Value extreme(Interpreter& in, Arguments& args) {
  const Values a = bind(args, kMax ? "max" : "min", {"value", "case_sensitive", "attribute"}, 1);
  Value best, best_key;
  for (Value& item : iterate(in.heap(), a[0])) {
    Value key = key_of(in, item, a[2], truthy(a[1]));
    if (!best.missing()) {
      const int order = compare(in.heap(), key, best_key, kMax ? ">" : "<");
      if (kMax ? order <= 0 : order >= 0) continue;
    }
    best = std::move(item);
    best_key = std::move(key);
  }
  return best.missing() ? Value::undefined(in.heap(), "the sequence is empty and has no extreme") : best;
}

}  // namespace

Builtin find_order_filter(std::string_view name) {
  return find_in({{"sort", sort},
                  {"dictsort", dictsort},
                  {"unique", unique},
                  {"groupby", groupby},
                  {"min", extreme<false>},
                  {"max", extreme<true>}},
                 name);
}

}  // namespace lathe::jinja
