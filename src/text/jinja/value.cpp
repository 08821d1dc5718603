#include "text/jinja/value.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>

#include "text/jinja/operators.h"

namespace lathe::jinja {
namespace {

constexpr std::size_t kIndexFrom = 12;  // dictionaries smaller than this are searched linearly
constexpr std::size_t kAbsent = static_cast<std::size_t>(-1);

std::size_t text_hash(std::string_view text) { return std::hash<std::string_view>()(text); }

bool all_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

Value Value::real(double value) {
  Value result(Kind::kFloat, 0);
  result.real_ = value;
  return result;
}

Value Value::adopt(Kind kind, Object* object) {
  Value result(kind, 0);
  result.object_ = object;
  return result;
}

Value Value::undefined(Heap& heap, std::string hint) {
  return adopt(Kind::kUndefined, new StringObject(heap, std::move(hint), false));
}

Value Value::string(Heap& heap, std::string text, bool markup) {
  heap.check_text(text.size());
  heap.step_bytes(text.size());
  return adopt(Kind::kString, new StringObject(heap, std::move(text), markup));
}

Value Value::list(Heap& heap, Values items) {
  return adopt(Kind::kList, new ListObject(heap, std::move(items), {}, false));
}

Value Value::tuple(Heap& heap, Values items) {
  return adopt(Kind::kTuple, new ListObject(heap, std::move(items), {}, false));
}

Value Value::sequence(Heap& heap, Values items, std::string label, bool generator) {
  return adopt(Kind::kSequence, new ListObject(heap, std::move(items), std::move(label), generator));
}

// NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): adopt() keeps it
Value Value::dict(Heap& heap) { return adopt(Kind::kDict, new DictObject(heap)); }

const StringObject& Value::string_object() const { return *static_cast<StringObject*>(object_); }
const std::string& Value::text() const { return string_object().text; }
bool Value::markup() const { return is_string() && string_object().markup; }
ListObject& Value::items() const { return *static_cast<ListObject*>(object_); }
DictObject& Value::dict() const { return *static_cast<DictObject*>(object_); }
CallableObject& Value::callable() const { return *static_cast<CallableObject*>(object_); }

std::string_view Value::type_name() const {
  switch (kind_) {
    case Kind::kMissing:
      return "nothing";
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kSequence:
      return items().generator ? "generator" : "sequence";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
  }
  return "value";
}

StringObject::StringObject(Heap& heap, std::string content, bool is_markup)
    : Object(heap, sizeof(StringObject) + content.size()),
      text(std::move(content)),
      markup(is_markup),
      ascii(all_ascii(text)) {}

ListObject::ListObject(Heap& heap, Values content, std::string printed, bool is_generator)
    : Object(heap, sizeof(ListObject) + content.size() * sizeof(Value)),
      items(std::move(content)),
      label(std::move(printed)),
      generator(is_generator) {
  heap.step(items.size() / 16);
}

void ListObject::push(Value value) {
  grow(sizeof(Value));
  items.push_back(std::move(value));
}

void ListObject::append(Values more) {
  grow(more.size() * sizeof(Value));
  items.insert(items.end(), std::move_iterator(more.begin()), std::move_iterator(more.end()));
}

void ListObject::insert(std::size_t at, Value value) {
  grow(sizeof(Value));
  heap().step(items.size() / 64);
  items.insert(items.begin() + static_cast<std::ptrdiff_t>(std::min(at, items.size())), std::move(value));
}

Values ListObject::consume() {
  if (generator) return std::exchange(items, {});
  return items;
}

void DictObject::drop_references() {
  std::vector<std::pair<Value, Value>>().swap(entries_);
  hashes_.clear();
  index_.clear();
}

template <class Same>
std::size_t DictObject::position(std::size_t hash, Same same) const {
  if (entries_.size() < kIndexFrom) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (hashes_[i] == hash && same(entries_[i].first)) return i;
    }
    return kAbsent;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (same(entries_[it->second].first)) return it->second;
  }
  return kAbsent;
}

const Value* DictObject::find(const Value& key) const {
  const std::size_t at = position(hash_of(heap(), key), [&](const Value& other) { return equal(heap(), key, other); });
  return at == kAbsent ? nullptr : &entries_[at].second;
}

const Value* DictObject::find(std::string_view key) const {
  const std::size_t at =
      position(text_hash(key), [&](const Value& other) { return other.is_string() && other.text() == key; });
  return at == kAbsent ? nullptr : &entries_[at].second;
}

void DictObject::set(Value key, Value value) {
  const std::size_t hash = hash_of(heap(), key);
  const std::size_t at = position(hash, [&](const Value& other) { return equal(heap(), key, other); });
  if (at != kAbsent) {
    entries_[at].second = std::move(value);
    return;
  }
  grow(2 * sizeof(Value) + 6 * sizeof(std::size_t));
  entries_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(hash);
  if (entries_.size() > kIndexFrom) {
    index_.emplace(hash, entries_.size() - 1);
  } else if (entries_.size() == kIndexFrom) {
    for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(hashes_[i], i);
  }
}

bool DictObject::erase(const Value& key) {
  const std::size_t at = position(hash_of(heap(), key), [&](const Value& other) { return equal(heap(), key, other); });
  if (at == kAbsent) return false;
  heap().step(1 + entries_.size() / 8);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(at));
  hashes_.erase(hashes_.begin() + static_cast<std::ptrdiff_t>(at));
  index_.clear();
  if (entries_.size() >= kIndexFrom) {
    for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(hashes_[i], i);
  }
  return true;
}

std::size_t hash_of(Heap& heap, const Value& value, int depth) {
  if (depth > kMaxDataDepth) throw EvalError{"a tuple is nested too deeply"};
  switch (value.kind()) {
    case Kind::kUndefined:
      return 1;
    case Kind::kNone:
      return 2;
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<std::int64_t>()(value.as_int());
    case Kind::kFloat: {
      const double real = value.as_double();
      // Whole numbers are the same key as their integer.
      if (std::abs(real) < 9e18 && real == std::floor(real))
        return std::hash<std::int64_t>()(static_cast<std::int64_t>(real));
      return std::hash<double>()(real);
    }
    case Kind::kString:
    case Kind::kBigInt:
      heap.step_bytes(value.text().size());
      return text_hash(value.text());
    case Kind::kTuple: {
      std::size_t hash = 3;
      heap.step(value.items().items.size());
      for (const Value& item : value.items().items) hash = hash * 1000003 + hash_of(heap, item, depth + 1);
      return hash;
    }
    case Kind::kCallable:
    case Kind::kNamespace:
    case Kind::kLoop:
      return std::hash<const void*>()(value.object());
    default:
      throw EvalError{fmt::format("unhashable type: '{}'", value.type_name())};
  }
}

}  // namespace lathe::jinja
