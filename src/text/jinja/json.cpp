// JSON to and from template values: what the `tojson` filter writes is byte for byte what Python's json.dumps writes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja/printing.h"
#include "text/jinja/unicode.h"

namespace lathe::jinja {
namespace {

void print_json_string(TextBuilder& out, std::string_view text, bool ensure_ascii) {
  out.append('"');
  std::size_t plain = 0;  // start of what needs no escape
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const CodePoint c = byte < 0x80 ? CodePoint{byte, 1} : decode_at(text, at);
    const bool escape = c.value == '"' || c.value == '\\' || c.value < 0x20 || (ensure_ascii && c.value > 0x7E);
    if (!escape) {
      at += c.bytes;
      continue;
    }
    out.append(text.substr(plain, at - plain));
    at += c.bytes;
    plain = at;
    switch (c.value) {
      case '"':
        out.append("\\\"");
        break;
      case '\\':
        out.append("\\\\");
        break;
      case '\n':
        out.append("\\n");
        break;
      case '\r':
        out.append("\\r");
        break;
      case '\t':
        out.append("\\t");
        break;
      case '\f':
        out.append("\\f");
        break;
      case '\b':
        out.append("\\b");
        break;
      default:
        if (c.value < 0x10000) {
          out.append(fmt::format("\\u{:04x}", static_cast<unsigned>(c.value)));
        } else {
          const auto rest = static_cast<unsigned>(c.value) - 0x10000;
          out.append(fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF)));
        }
    }
  }
  out.append(text.substr(plain));
  out.append('"');
}

std::string json_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_text(value);
}

class JsonPrinter {
 public:
  JsonPrinter(TextBuilder& out, const JsonStyle& style) : out_(out), style_(style) {}

  void print(const Value& value, int depth) {
    if (depth > kMaxDataDepth) throw EvalError{fmt::format("tojson: nested deeper than {} levels", kMaxDataDepth)};
    switch (value.kind()) {
      case Kind::kNone:
        return out_.append("null");
      case Kind::kBool:
        return out_.append(value.as_int() != 0 ? "true" : "false");
      case Kind::kInt:
        return out_.append(fmt::format_int(value.as_int()).c_str());
      case Kind::kBigInt:
        return out_.append(value.text());
      case Kind::kFloat:
        return out_.append(json_float(value.as_double()));
      case Kind::kString:
        return print_json_string(out_, value.text(), style_.ensure_ascii);
      case Kind::kList:
      case Kind::kTuple:
        return print_list(value.items(), depth);
      case Kind::kDict:
        return print_dict(value.dict(), depth);
      default:
        throw EvalError{fmt::format("tojson: a value of type {} has no JSON form", value.type_name())};
    }
  }

 private:
  void new_line(int depth) {
    if (!style_.indent) return;
    out_.append('\n');
    for (int i = 0; i < depth; ++i) out_.append(*style_.indent);
  }

  void print_list(const ListObject& list, int depth) {
    if (list.items.empty()) return out_.append("[]");
    out_.append('[');
    bool first = true;
    for (const Value& item : list.items) {
      if (!first) out_.append(style_.item_separator);
      first = false;
      new_line(depth + 1);
      print(item, depth + 1);
    }
    new_line(depth);
    out_.append(']');
  }

  void print_key(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        return print_json_string(out_, key.text(), style_.ensure_ascii);
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kBigInt:
      case Kind::kFloat:
        out_.append('"');
        print(key, 0);
        return out_.append('"');
      default:
        throw EvalError{fmt::format("tojson: a key of type {} has no JSON form", key.type_name())};
    }
  }

  void print_dict(const DictObject& dict, int depth) {
    if (dict.size() == 0) return out_.append("{}");
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : dict.entries()) order.push_back(&entry);
    if (style_.sort_keys) {
      for (const auto* entry : order) {
        if (!entry->first.is_string()) throw EvalError{"tojson: sort_keys needs keys that are all strings"};
      }
      dict.heap().step(order.size());
      std::stable_sort(order.begin(), order.end(),
                       [](const auto* a, const auto* b) { return a->first.text() < b->first.text(); });
    }
    out_.append('{');
    bool first = true;
    for (const auto* entry : order) {
      if (!first) out_.append(style_.item_separator);
      first = false;
      new_line(depth + 1);
      print_key(entry->first);
      out_.append(style_.key_separator);
      print(entry->second, depth + 1);
    }
    new_line(depth);
    out_.append('}');
  }

  TextBuilder& out_;
  const JsonStyle& style_;
};

// Builds the value while nlohmann's parser reads, so that nothing is held twice and large integers keep their digits.
class ValueReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  ValueReader(Heap& heap, std::string_view text, std::string_view what) : heap_(heap), text_(text), what_(what) {}

  bool null() override { return put(Value::none()); }
  bool boolean(bool value) override { return put(Value::boolean(value)); }
  bool number_integer(std::int64_t value) override { return put(Value::integer(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (value <= static_cast<std::uint64_t>(INT64_MAX)) return put(Value::integer(static_cast<std::int64_t>(value)));
    return put_digits(std::to_string(value));
  }
  bool number_float(double value, const std::string& spelled) override {
    if (spelled.find_first_of(".eE") == std::string::npos) return put_digits(spelled);
    return put(Value::real(value));
  }
  bool string(std::string& value) override { return put(Value::string(heap_, std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Value::dict(heap_)); }
  bool key(std::string& name) override {
    open_.back().key = Value::string(heap_, std::move(name));
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Value::list(heap_, {})); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string_view before = text_.substr(0, std::min(position > 0 ? position - 1 : 0, text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t newline = before.rfind('\n');
    const std::size_t column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
    if (error.id == 406) return too_large(line, column);
    fail(what_, "invalid JSON at line {}, column {}", line, column);
  }

  Value result;

 private:
  struct Open {
    Value container, key;
  };

  template <class Line, class Column>
  [[noreturn]] bool too_large(Line line, Column column) {
    fail(what_, "a number too large to represent at line {}, column {}", line, column);
  }

  bool put_digits(std::string digits) {
    return put(Value::adopt(Kind::kBigInt, new StringObject(heap_, std::move(digits), false)));
  }

  bool put(Value value) {
    heap_.step();
    if (open_.empty()) {
      result = std::move(value);
    } else if (open_.back().container.is_list()) {
      open_.back().container.items().push(std::move(value));
    } else {
      open_.back().container.dict().set(std::move(open_.back().key), std::move(value));
    }
    return true;
  }

  bool open(Value container) {
    if (open_.size() >= static_cast<std::size_t>(kMaxDataDepth)) {
      fail(what_, "JSON is nested deeper than {} levels", kMaxDataDepth);
    }
    open_.push_back({std::move(container), {}});
    return true;
  }

  bool close() {
    Value done = std::move(open_.back().container);
    open_.pop_back();
    return put(std::move(done));
  }

  Heap& heap_;
  std::string_view text_, what_;
  std::vector<Open> open_;
};

}  // namespace

void print_json(TextBuilder& out, const Value& value, const JsonStyle& style) {
  JsonPrinter(out, style).print(value, 0);
}

Value parse_json_value(Heap& heap, std::string_view text, std::string_view what) {
  ValueReader reader(heap, text, what);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return std::move(reader.result);
}

}  // namespace lathe::jinja
