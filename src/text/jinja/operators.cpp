#include "text/jinja/operators.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxDataDepth) throw EvalError{fmt::format("a value is nested deeper than {} levels", kMaxDataDepth)};
}

bool items_equal(Heap& heap, const Values& a, const Values& b, int depth) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!equal(heap, a[i], b[i], depth + 1)) return false;
  }
  return true;
}

bool dicts_equal(Heap& heap, const DictObject& a, const DictObject& b, int depth) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (other == nullptr || !equal(heap, value, *other, depth + 1)) return false;
  }
  return true;
}

int sign(std::int64_t a, std::int64_t b) { return a < b ? -1 : a > b ? 1 : 0; }

// start and stop clipped to [0, size) as Python's slice.indices does.
struct SliceRange {
  std::int64_t start, stop, step;
};

std::int64_t slice_bound(const Value& value, std::int64_t otherwise, std::int64_t size, std::int64_t low,
                         std::int64_t high) {
  if (value.none_or_absent()) return otherwise;
  require_defined(value);
  if (!value.is_integral()) throw EvalError{"slice indices must be integers or None"};
  std::int64_t at = value.as_int();
  if (at < 0) at = at < -size ? low : at + size;
  return std::clamp(at, low, high);
}

SliceRange slice_range(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  SliceRange range{0, 0, 1};
  if (!step.none_or_absent()) {
    require_defined(step);
    if (!step.is_integral()) throw EvalError{"slice indices must be integers or None"};
    range.step = std::max<std::int64_t>(step.as_int(), -INT64_MAX);
  }
  if (range.step == 0) throw EvalError{"slice step cannot be zero"};
  const std::int64_t low = range.step > 0 ? 0 : -1;
  const std::int64_t high = range.step > 0 ? size : size - 1;
  range.start = slice_bound(start, range.step > 0 ? low : high, size, low, high);
  range.stop = slice_bound(stop, range.step > 0 ? high : low, size, low, high);
  return range;
}

// Calls f(index) for each index of the range.
template <class F>
void each_index(const SliceRange& range, F f) {
  if (range.step > 0) {
    for (std::int64_t i = range.start; i < range.stop;) {
      f(static_cast<std::size_t>(i));
      if (range.step > range.stop - i) break;
      i += range.step;
    }
  } else {
    for (std::int64_t i = range.start; i > range.stop;) {
      f(static_cast<std::size_t>(i));
      if (range.step < range.stop - i) break;
      i += range.step;
    }
  }
}

Value slice_string(Heap& heap, const Value& value, const SliceRange& range) {
  const StringObject& source = value.string_object();
  const std::string_view text = source.text;
  heap.step_bytes(text.size());
  std::string out;
  if (range.step == 1) {
    if (range.start < range.stop) {
      const auto start = static_cast<std::size_t>(range.start), stop = static_cast<std::size_t>(range.stop);
      const std::size_t from = source.ascii ? start : byte_offset(text, start);
      const std::size_t count = source.ascii ? stop - start : byte_offset(text.substr(from), stop - start);
      out = text.substr(from, count);
    }
  } else if (source.ascii) {
    each_index(range, [&](std::size_t i) { out += text[i]; });
  } else {
    std::vector<std::uint32_t> offsets;
    for (std::size_t at = 0; at < text.size(); at += decode_at(text, at).bytes)
      offsets.push_back(static_cast<std::uint32_t>(at));
    each_index(range, [&](std::size_t i) { out += text.substr(offsets[i], decode_at(text, offsets[i]).bytes); });
  }
  return Value::string(heap, std::move(out), value.markup());
}

bool text_contains(std::string_view haystack, std::string_view needle) {
  // memmem is linear in both lengths; std::string::find is not.
  return needle.empty() || memmem(haystack.data(), haystack.size(), needle.data(), needle.size()) != nullptr;
}

}  // namespace

void require_defined(const Value& value) {
  if (value.undefined()) throw EvalError{value.text()};
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_double() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().items.empty();
    case Kind::kSequence:
      return value.items().generator || !value.items().items.empty();
    case Kind::kDict:
      return value.dict().size() != 0;
    default:
      return true;
  }
}

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(depth);
  heap.step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
    case Kind::kBigInt:
      heap.step_bytes(std::min(a.text().size(), b.text().size()));
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return items_equal(heap, a.items().items, b.items().items, depth);
    case Kind::kSequence:
      return a.object() == b.object() ||
             (!a.items().generator && a.items().label.starts_with("range") && b.items().label.starts_with("range") &&
              items_equal(heap, a.items().items, b.items().items, depth));
    case Kind::kDict:
      return dicts_equal(heap, a.dict(), b.dict(), depth);
    default:
      return a.object() == b.object();
  }
}

int compare(Heap& heap, const Value& a, const Value& b, std::string_view op, int depth) {
  check_depth(depth);
  heap.step();
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return sign(a.as_int(), b.as_int());
    return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) {
    heap.step_bytes(std::min(a.text().size(), b.text().size()));
    return a.text().compare(b.text());  // UTF-8 bytes order as code points do
  }
  if (a.kind() == b.kind() && (a.is_list() || a.is(Kind::kTuple))) {
    const Values &left = a.items().items, &right = b.items().items;
    for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!equal(heap, left[i], right[i], depth + 1)) return compare(heap, left[i], right[i], op, depth + 1);
    }
    return sign(static_cast<std::int64_t>(left.size()), static_cast<std::int64_t>(right.size()));
  }
  throw EvalError{
      fmt::format("'{}' not supported between instances of '{}' and '{}'", op, a.type_name(), b.type_name())};
}

bool contains(Heap& heap, const Value& item, const Value& container) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      require_defined(item);
      if (!item.is_string()) {
        throw EvalError{fmt::format("'in <string>' requires string as left operand, not {}", item.type_name())};
      }
      heap.step_bytes(container.text().size());
      return text_contains(container.text(), item.text());
    case Kind::kDict:
      return container.dict().find(item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSequence: {
      const Values& items = container.items().items;
      const auto found =
          std::find_if(items.begin(), items.end(), [&](const Value& other) { return equal(heap, item, other); });
      return found != items.end();
    }
    default:
      throw EvalError{fmt::format("argument of type '{}' is not iterable", container.type_name())};
  }
}

std::int64_t length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString: {
      const StringObject& string = value.string_object();
      return static_cast<std::int64_t>(string.ascii ? string.text.size() : code_point_count(string.text));
    }
    case Kind::kSequence:
      if (value.items().generator) break;
      [[fallthrough]];
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<std::int64_t>(value.items().items.size());
    case Kind::kDict:
      return static_cast<std::int64_t>(value.dict().size());
    default:
      break;
  }
  throw EvalError{fmt::format("object of type '{}' has no len()", value.type_name())};
}

Values iterate(Heap& heap, const Value& value) {
  Values items;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kString: {
      const std::string_view text = value.text();
      heap.step(text.size());
      for (std::size_t at = 0; at < text.size();) {
        const unsigned bytes = decode_at(text, at).bytes;
        items.push_back(Value::string(heap, std::string(text.substr(at, bytes))));
        at += bytes;
      }
      break;
    }
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSequence:
      heap.step(value.items().items.size() / 16);
      return value.items().consume();
    case Kind::kDict:
      heap.step(value.dict().size() / 16);
      for (const auto& entry : value.dict().entries()) items.push_back(entry.first);
      break;
    default:
      throw EvalError{fmt::format("'{}' object is not iterable", value.type_name())};
  }
  return items;
}

bool subscript(Heap& heap, const Value& value, const Value& key, Value& result) {
  require_defined(value);
  if (value.is_dict()) {
    if (key.is_list() || key.is_dict()) return false;
    const Value* found = value.dict().find(key);
    if (found != nullptr) result = *found;
    return found != nullptr;
  }
  const bool indexable =
      value.is_string() ||
      (value.is_items() && !(value.is(Kind::kSequence) && !value.items().label.starts_with("range")));
  if (!indexable || !key.is_integral()) return false;
  const std::int64_t size = length(value);
  const std::int64_t at = key.as_int() < 0 ? key.as_int() + size : key.as_int();
  if (at < 0 || at >= size) return false;
  const auto index = static_cast<std::size_t>(at);
  if (value.is_string()) {
    const std::string_view text = value.text();
    const std::size_t from = value.string_object().ascii ? index : byte_offset(text, index);
    heap.step_bytes(from);
    result = Value::string(heap, std::string(text.substr(from, decode_at(text, from).bytes)), value.markup());
  } else {
    result = value.items().items[index];
  }
  return true;
}

Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step) {
  require_defined(value);
  const bool range_like = value.is(Kind::kSequence) && value.items().label.starts_with("range");
  if (!value.is_string() && !value.is_list() && !value.is(Kind::kTuple) && !range_like) {
    throw EvalError{fmt::format("'{}' object cannot be sliced", value.type_name())};
  }
  const SliceRange range = slice_range(start, stop, step, length(value));
  if (value.is_string()) return slice_string(heap, value, range);
  const Values& source = value.items().items;
  Values items;
  each_index(range, [&](std::size_t i) { items.push_back(source[i]); });
  return value.is(Kind::kTuple) ? Value::tuple(heap, std::move(items)) : Value::list(heap, std::move(items));
}

Value html_escape(Heap& heap, const Value& value) {
  if (value.markup()) return value;
  const std::string text = to_text(heap, value);
  TextBuilder out(heap);
  for (char c : text) {
    switch (c) {
      case '&':
        out.append("&amp;");
        break;
      case '<':
        out.append("&lt;");
        break;
      case '>':
        out.append("&gt;");
        break;
      case '\'':
        out.append("&#39;");
        break;
      case '"':
        out.append("&#34;");
        break;
      default:
        out.append(c);
    }
  }
  return Value::string(heap, out.take(), true);
}

}  // namespace lathe::jinja
