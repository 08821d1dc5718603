// Python's operators on template values: truth, equality, order, arithmetic, membership, subscripts and iteration.
#pragma once

#include <cstdint>
#include <string_view>

#include "text/jinja/value.h"

namespace lathe::jinja {

enum class BinaryOp : std::uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };

// Throws the error of using `value` when it is undefined ("'x' is undefined").
void require_defined(const Value& value);

bool truthy(const Value& value);
bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
// Negative, zero or positive; throws for pairs without an order.
int compare(Heap& heap, const Value& a, const Value& b, std::string_view op = "<", int depth = 0);
bool contains(Heap& heap, const Value& item, const Value& container);

Value binary(Heap& heap, BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& value);

// len(value).
std::int64_t length(const Value& value);
// list(value): the items that a `for` would see.
Values iterate(Heap& heap, const Value& value);
// value[key] where that exists, or null; attributes are the interpreter's concern.
bool subscript(Heap& heap, const Value& value, const Value& key, Value& result);
// value[start:stop:step], each possibly absent or None.
Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step);

// `text` with &, <, >, ' and " as HTML writes them, marked safe; what is safe already stays as it is.
Value html_escape(Heap& heap, const Value& value);

}  // namespace lathe::jinja
