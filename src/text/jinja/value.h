// The values a template computes with: Python's None, bool, int, float, str, list, tuple and dict, Jinja's undefined
// and namespace, and things that can be called. A Value is 16 bytes; texts and containers are shared by reference, as
// in Python.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/heap.h"

namespace lathe::jinja {

enum class Kind : std::uint8_t {
  kMissing,    // no value at all: an argument that was not given; templates never see it
  kUndefined,  // Jinja's undefined; refers to a text that says what is undefined
  kNone,
  kBool,
  kInt,
  kFloat,
  kBigInt,  // an integer beyond 64 bits from JSON: its digits, for printing only
  kString,
  kList,
  kTuple,
  kSequence,  // what Python iterates but does not index: generators, dict views; and ranges
  kDict,
  kNamespace,
  kCallable,  // macros, methods, globals
  kLoop,      // the `loop` variable
};

class Value;
class StringObject;
class ListObject;
class DictObject;
class CallableObject;
class Interpreter;
struct Arguments;
using Values = std::vector<Value>;

class Value {
 public:
  Value() : integer_(0) {}
  Value(const Value& other) : kind_(other.kind_), integer_(other.integer_) {
    if (shared()) object_->retain();
  }
  Value(Value&& other) noexcept : kind_(other.kind_), integer_(other.integer_) { other.kind_ = Kind::kMissing; }
  Value& operator=(const Value& other) { return *this = Value(other); }
  Value& operator=(Value&& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(integer_, other.integer_);
    return *this;
  }
  ~Value() {
    if (shared()) object_->release();
  }

  static Value none() { return Value(Kind::kNone, std::int64_t{0}); }
  static Value boolean(bool value) { return Value(Kind::kBool, std::int64_t{value}); }
  static Value integer(std::int64_t value) { return Value(Kind::kInt, value); }
  static Value real(double value);
  // Takes over the one reference that `object` was made with.
  static Value adopt(Kind kind, Object* object);
  // A further reference to an object that is alive.
  static Value of(Kind kind, Object* object) {
    object->retain();
    return adopt(kind, object);
  }
  // `hint` says what is undefined, for the error when it is used ("'x' is undefined").
  static Value undefined(Heap& heap, std::string hint);
  static Value string(Heap& heap, std::string text, bool markup = false);
  static Value list(Heap& heap, Values items);
  static Value tuple(Heap& heap, Values items);
  // `label` is how it prints ("range(0, 3)"); a generator gives its items once.
  static Value sequence(Heap& heap, Values items, std::string label, bool generator);
  static Value generator(Heap& heap, Values items) {
    return sequence(heap, std::move(items), "<generator object>", true);
  }
  static Value dict(Heap& heap);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool missing() const { return kind_ == Kind::kMissing; }
  bool undefined() const { return kind_ == Kind::kUndefined; }
  bool none_or_absent() const { return kind_ == Kind::kMissing || kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_items() const { return kind_ == Kind::kList || kind_ == Kind::kTuple || kind_ == Kind::kSequence; }
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }

  std::int64_t as_int() const { return integer_; }  // of kInt and kBool
  double as_double() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const std::string& text() const;  // of kString, kUndefined (its hint), kBigInt
  bool markup() const;              // of kString: marked safe
  const StringObject& string_object() const;
  ListObject& items() const;         // of is_items()
  DictObject& dict() const;          // of kDict, kNamespace
  CallableObject& callable() const;  // of kCallable, kLoop
  Object* object() const { return shared() ? object_ : nullptr; }

  // The type's name as Python's messages give it ("str", "dict", "NoneType").
  std::string_view type_name() const;

 private:
  Value(Kind kind, std::int64_t integer) : kind_(kind), integer_(integer) {}
  bool shared() const { return kind_ >= Kind::kBigInt || kind_ == Kind::kUndefined; }
  Kind kind_ = Kind::kMissing;
  union {
    std::int64_t integer_;
    double real_;
    Object* object_;
  };
};

class StringObject final : public Object {
 public:
  StringObject(Heap& heap, std::string text, bool markup);
  const std::string text;
  const bool markup;
  const bool ascii;  // one byte a character: indexing needs no scan
};

// Lists, tuples, generators, views and ranges.
class ListObject final : public Object {
 public:
  ListObject(Heap& heap, Values items, std::string label, bool generator);
  void push(Value value);
  void append(Values more);
  void insert(std::size_t at, Value value);
  // All the items; a generator has none left after this.
  Values consume();

  Values items;
  const std::string label;
  const bool generator;

 private:
  void drop_references() override { Values().swap(items); }
};

// Key order is insertion order. Keys are strings, numbers, bools, None and tuples of these.
class DictObject final : public Object {
 public:
  explicit DictObject(Heap& heap) : Object(heap, sizeof(DictObject)) {}
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  void set(std::string_view key, Value value) { set(Value::string(heap(), std::string(key)), std::move(value)); }
  bool erase(const Value& key);
  void clear() { drop_references(); }
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }

 private:
  void drop_references() override;
  template <class Same>
  std::size_t position(std::size_t hash, Same same) const;
  std::vector<std::pair<Value, Value>> entries_;
  std::vector<std::size_t> hashes_;                          // of each entry's key
  std::unordered_multimap<std::size_t, std::size_t> index_;  // hash to position, from a certain size on
};

class CallableObject : public Object {
 public:
  using Object::Object;
  virtual Value call(Interpreter& interpreter, Arguments& arguments) = 0;
  virtual std::string name() const = 0;  // "macro 'f'", for errors
};

// The label of the (grouper, list) pairs that groupby makes.
inline constexpr std::string_view kGroupLabel = "group";

// hash(value) as dictionaries need it; throws for unhashable kinds. 1, 1.0 and True are one key.
std::size_t hash_of(Heap& heap, const Value& value, int depth = 0);

}  // namespace lathe::jinja
