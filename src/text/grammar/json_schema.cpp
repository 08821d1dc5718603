#include "text/grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "base/json.h"
#include "text/grammar/json_pattern.h"
#include "text/grammar/json_rules.h"
#include "text/grammar/schema_merge.h"
#include "text/utf8.h"

namespace lathe::text::grammar {
namespace {

constexpr std::size_t kMaxSchema = std::size_t{256} << 10;  // bytes
constexpr int kMaxDepth = 100;                              // of nesting in the schema's JSON
constexpr std::uint32_t kMaxCount = 90'000;  // of characters, items: so many characters make 180,000 items
constexpr std::size_t kMaxVisited = 20'000;  // schemas looked at, copies by anyOf and allOf included

// "date" leaves out February 29, which only some years have.
constexpr std::string_view kDate =
    "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
constexpr std::string_view kTime =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
constexpr std::string_view kUuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

class Translator {
 public:
  Translator(const Json& root, std::string_view name) : merge_(root, name), json_(grammar_) {}

  Grammar run() {
    grammar_.root = reference("");
    while (!waiting_.empty()) {
      const std::string pointer = std::move(waiting_.front());
      waiting_.pop_front();
      contradiction_.reset();
      Expression body = value(merge_.target(pointer), pointer);
      if (matches_nothing(body)) refuse_contradiction();
      grammar_.rules[rules_.at(pointer)].body = std::move(body);
    }
    return std::move(grammar_);
  }

 private:
  struct Member {
    std::string name;
    bool required = false;
    Expression text;  // a reference to the rule for "name": value
  };

  // The rule for the schema at `pointer`, translated later so that schemas may mention themselves.
  std::uint32_t reference(const std::string& pointer) {
    const auto [it, fresh] = rules_.try_emplace(pointer, 0);
    if (fresh) {
      it->second = grammar_.add("#" + pointer, merge_.where(pointer));
      waiting_.push_back(pointer);
    }
    return it->second;
  }

  [[noreturn]] void refuse(const std::string& pointer, std::string_view what) const {
    throw Error(std::string(what), merge_.where(pointer));
  }

  Expression nothing() { return choice({}); }
  // nothing(), because of two keywords: what an error speaks of when nothing else is left of the rule at hand.
  Expression contradiction(const Json& schema, const char* low, const char* high, const std::string& pointer) {
    if (!contradiction_) {
      contradiction_ = {pointer, fmt::format("no value satisfies both \"{}\": {} and \"{}\": {}", low,
                                             schema[low].dump(), high, schema[high].dump())};
    }
    return nothing();
  }
  void refuse_contradiction() const {
    if (contradiction_) refuse(contradiction_->pointer, contradiction_->what);
  }
  static bool matches_nothing(const Expression& e) { return e.kind == Expression::Kind::kChoice && e.items.empty(); }

  // The text of every value the schema allows; nothing() when it is sure that there is none.
  Expression value(const Json& schema, const std::string& pointer) {
    if (++visited_ > kMaxVisited)
      refuse(pointer, fmt::format("the schema unfolds to more than {} schemas", kMaxVisited));
    if (schema.is_boolean()) return schema.get<bool>() ? json_.value() : nothing();
    if (const auto only = merge_.only_reference(schema, pointer)) return rule_reference(reference(*only));
    const Json flat = merge_.flattened(schema, pointer);
    if (flat.is_boolean()) return flat.get<bool>() ? json_.value() : nothing();
    for (const char* keyword : {"anyOf", "oneOf"}) {
      if (flat.contains(keyword)) return any_of(flat, keyword, pointer);
    }
    if (flat.contains("const") || flat.contains("enum")) return enumerated(flat, pointer);
    std::vector<Expression> ways;
    for (const std::string& type : types(flat, pointer)) {
      Expression way = of_type(type, flat, pointer);
      if (!matches_nothing(way)) ways.push_back(std::move(way));
    }
    return choice(std::move(ways));
  }

  Expression any_of(const Json& schema, const char* keyword, const std::string& pointer) {
    Json rest = schema;
    rest.erase(keyword);
    const Json& alternatives = schema[keyword];
    if (!alternatives.is_array() || alternatives.empty())
      refuse(pointer, fmt::format("\"{}\" must be a list of schemas", keyword));
    const bool alone = merge_.is_free(rest);
    std::vector<Expression> ways;
    for (std::size_t i = 0; i < alternatives.size(); ++i) {
      const std::string at = fmt::format("{}/{}/{}", pointer, keyword, i);
      Expression way = value(alone ? alternatives[i] : merge_.both(rest, alternatives[i], at), at);
      if (!matches_nothing(way)) ways.push_back(std::move(way));
    }
    return choice(std::move(ways));
  }

  Expression enumerated(const Json& schema, const std::string& pointer) {
    for (const auto& [keyword, ignored] : schema.items()) {
      if (keyword != "const" && keyword != "enum" && keyword != "type")
        refuse(pointer, fmt::format("\"{}\" beside \"enum\" or \"const\" is not supported", keyword));
    }
    if (schema.contains("enum") && (!schema["enum"].is_array() || schema["enum"].empty()))
      refuse(pointer, "\"enum\" must be a list of values");
    std::vector<Json> values;
    if (schema.contains("enum")) values.assign(schema["enum"].begin(), schema["enum"].end());
    if (schema.contains("const")) {
      const Json& only = schema["const"];
      if (schema.contains("enum") && std::find(values.begin(), values.end(), only) == values.end())
        refuse(pointer, "\"const\" is not among the values of \"enum\"");
      values = {only};
    }
    std::vector<Expression> ways;
    const std::vector<std::string> allowed =
        schema.contains("type") ? types(schema, pointer) : std::vector<std::string>{};
    for (const Json& value : values) {
      if (allowed.empty() ||
          std::any_of(allowed.begin(), allowed.end(), [&](const std::string& type) { return has_type(value, type); }))
        ways.push_back(literal(value.dump()));
    }
    if (ways.empty()) refuse(pointer, "no value of \"enum\" or \"const\" has the \"type\" asked for");
    return choice(std::move(ways));
  }

  static bool has_type(const Json& value, const std::string& type) {
    if (type == "integer")
      return value.is_number_integer() ||
             (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
    return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
           (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
           (type == "boolean" && value.is_boolean()) || (type == "null" && value.is_null());
  }

  // The types that `type` names; without it those that the keywords speak of, and all where there are none.
  std::vector<std::string> types(const Json& schema, const std::string& pointer) {
    static const std::vector<std::string> kAll = {"object", "array", "string", "number", "boolean", "null"};
    std::vector<std::string> named;
    if (const auto type = schema.find("type"); type != schema.end()) {
      const Json list = type->is_array() ? *type : Json::array({*type});
      for (const Json& one : list) {
        const std::string name = one.is_string() ? one.get<std::string>() : "";
        if (name != "integer" && std::find(kAll.begin(), kAll.end(), name) == kAll.end())
          refuse(pointer, fmt::format("\"type\" {} is unknown", text::quoted(one.dump())));
        named.push_back(name);
      }
      if (named.empty()) refuse(pointer, "\"type\" names no type");
      return named;
    }
    for (const std::string& type : kAll) {
      for (const auto& [keyword, ignored] : schema.items()) {
        if (SchemaMerge::type_of_keyword(keyword) != type) continue;
        named.push_back(type);
        break;
      }
    }
    return named.empty() ? kAll : named;
  }

  Expression of_type(const std::string& type, const Json& schema, const std::string& pointer) {
    if (type == "object") return object(schema, pointer);
    if (type == "array") return array(schema, pointer);
    if (type == "string") return string(schema, pointer);
    if (type == "number" || type == "integer") return number(schema, type == "integer", pointer);
    return type == "boolean" ? json_.boolean() : json_.null();
  }

  // A count keyword, or `otherwise`.
  std::uint32_t count(const Json& schema, const char* keyword, std::uint32_t otherwise, const std::string& pointer) {
    const auto it = schema.find(keyword);
    if (it == schema.end()) return otherwise;
    const double n = it->is_number() ? it->get<double>() : -1;
    if (n < 0 || n != std::floor(n)) refuse(pointer, fmt::format("\"{}\" must be a whole number, 0 or more", keyword));
    if (n > kMaxCount) refuse(pointer, fmt::format("\"{}\" is more than {}", keyword, kMaxCount));
    return static_cast<std::uint32_t>(n);
  }

  Expression string(const Json& schema, const std::string& pointer) {
    const std::uint32_t min = count(schema, "minLength", 0, pointer);
    const std::uint32_t max = count(schema, "maxLength", kUnbounded, pointer);
    const bool counted = schema.contains("minLength") || schema.contains("maxLength");
    if (min > max) return contradiction(schema, "minLength", "maxLength", pointer);
    for (const char* keyword : {"pattern", "format"}) {
      const auto it = schema.find(keyword);
      if (it == schema.end()) continue;
      if (!it->is_string()) refuse(pointer, fmt::format("\"{}\" must be a string", keyword));
      if (counted || (schema.contains("pattern") && schema.contains("format"))) {
        refuse(pointer,
               fmt::format("\"{}\" together with minLength, maxLength, pattern or format is not supported", keyword));
      }
      const std::string at = merge_.where(pointer + "/" + keyword);
      const std::string pattern =
          std::string(keyword) == "pattern" ? it->get<std::string>() : format_pattern(it->get<std::string>(), pointer);
      return sequence({literal("\""), parse_pattern(pattern, json_.string_char(), at), literal("\"")});
    }
    return json_.string(min, max);
  }

  std::string format_pattern(const std::string& format, const std::string& pointer) {
    if (format == "date") return fmt::format("^{}$", kDate);
    if (format == "time") return fmt::format("^{}$", kTime);
    if (format == "date-time") return fmt::format("^{}T{}$", kDate, kTime);
    if (format == "uuid") return fmt::format("^{}$", kUuid);
    refuse(pointer, fmt::format("\"format\" {} is not supported; known are date, time, date-time and uuid",
                                text::quoted(format)));
  }

  // A bound as a whole number: `up` rounds fractions up. Numbers that are not integers need whole bounds.
  std::int64_t bound(const Json& schema, const char* keyword, bool integer, bool up, const std::string& pointer) {
    const Json& given = schema[keyword];
    if (!given.is_number()) refuse(pointer, fmt::format("\"{}\" must be a number", keyword));
    const double value = given.get<double>();
    if (!(std::abs(value) < 1e17)) refuse(pointer, fmt::format("\"{}\" beyond 1e17 is not supported", keyword));
    if (given.is_number_integer()) return given.get<std::int64_t>();
    if (!integer && value != std::floor(value)) {
      refuse(pointer, fmt::format("\"{}\" {} is not supported for a number: only whole bounds are", keyword, value));
    }
    return static_cast<std::int64_t>(up ? std::ceil(value) : std::floor(value));
  }

  Expression number(const Json& schema, bool integer, const std::string& pointer) {
    NumberBounds b;
    bool bounded = false;
    const char *lowest = nullptr, *highest = nullptr;  // the keywords that decide
    const auto each = [&](const char* keyword, bool lower, bool excluded) {
      if (!schema.contains(keyword)) return;
      bounded = true;
      // An excluded bound of integers moves to the next integer inside.
      const std::int64_t at = bound(schema, keyword, integer, lower != (integer && excluded), pointer);
      const std::int64_t inside = integer && excluded ? at + (lower ? 1 : -1) : at;
      std::int64_t& limit = lower ? b.min : b.max;
      bool& excludes = lower ? b.min_excluded : b.max_excluded;
      if (lower ? inside > limit : inside < limit) {
        limit = inside;
        excludes = excluded && !integer;
        (lower ? lowest : highest) = keyword;
      } else if (inside == limit && excluded && !integer) {
        excludes = true;
        (lower ? lowest : highest) = keyword;
      }
    };
    each("minimum", true, false);
    each("exclusiveMinimum", true, true);
    each("maximum", false, false);
    each("exclusiveMaximum", false, true);
    if (lowest != nullptr && highest != nullptr &&
        (b.min > b.max || (b.min == b.max && (b.min_excluded || b.max_excluded))))
      return contradiction(schema, lowest, highest, pointer);
    if (integer) return bounded ? integers_between(b.min, b.max) : json_.integer();
    return bounded ? numbers_between(b) : json_.number();
  }

  Expression array(const Json& schema, const std::string& pointer) {
    const std::uint32_t min = count(schema, "minItems", 0, pointer);
    std::uint32_t max = count(schema, "maxItems", kUnbounded, pointer);
    if (min > max) return contradiction(schema, "minItems", "maxItems", pointer);
    if (const auto unique = schema.find("uniqueItems"); unique != schema.end() && *unique != false)
      refuse(pointer, "\"uniqueItems\" is not supported");
    std::vector<Expression> first;
    if (const auto prefix = schema.find("prefixItems"); prefix != schema.end()) {
      if (!prefix->is_array()) refuse(pointer, "\"prefixItems\" must be a list of schemas");
      for (std::size_t i = 0; i < prefix->size(); ++i)
        first.push_back(value((*prefix)[i], fmt::format("{}/prefixItems/{}", pointer, i)));
    }
    const auto items = schema.find("items");
    if (items != schema.end() && items->is_array())
      refuse(pointer, "\"items\" as a list is not supported; use prefixItems");
    const Expression other = items == schema.end() ? json_.value() : value(*items, pointer + "/items");
    for (std::size_t i = 0; i < first.size(); ++i) {
      if (matches_nothing(first[i])) {
        max = std::min<std::uint32_t>(max, static_cast<std::uint32_t>(i));
        first.resize(i);
      }
    }
    if (matches_nothing(other)) max = std::min<std::uint32_t>(max, static_cast<std::uint32_t>(first.size()));
    if (min > max) return nothing();
    if (first.size() >= max) first.resize(max);
    // From the last one backwards: each may be the end of the array once there are `min`.
    const auto n = static_cast<std::uint32_t>(first.size());
    const Expression item = max > n ? sequence({shared(other, pointer + "/items"), json_.space()}) : literal("");
    if (n == 0) return json_.in_brackets(json_.list(item, min, max));
    Expression rest = max == n ? literal("")
                               : repeat(sequence({json_.comma(), item}), min > n ? min - n : 0,
                                        max == kUnbounded ? kUnbounded : max - n);
    for (std::uint32_t i = n; i-- > 0;) {
      std::vector<Expression> parts;
      if (i > 0) parts.push_back(json_.comma());
      parts.push_back(std::move(first[i]));
      parts.push_back(json_.space());
      parts.push_back(std::move(rest));
      rest = i < min ? sequence(std::move(parts)) : shared(optional(sequence(std::move(parts))), pointer);
    }
    return json_.in_brackets(std::move(rest));
  }

  // Under a rule of its own, so that using it twice does not double the grammar.
  Expression shared(Expression e, const std::string& pointer) {
    if (e.kind == Expression::Kind::kRule || e.kind == Expression::Kind::kLiteral) return e;
    return rule_reference(grammar_.add("#" + pointer, merge_.where(pointer), std::move(e)));
  }

  Expression object(const Json& schema, const std::string& pointer) {
    const Json none = Json::object();
    const auto given = schema.find("properties");
    const Json& properties = given == schema.end() ? none : *given;
    if (!properties.is_object()) refuse(pointer, "\"properties\" must be an object");
    std::set<std::string> required;
    if (const auto list = schema.find("required"); list != schema.end()) {
      if (!list->is_array()) refuse(pointer, "\"required\" must be a list of names");
      for (const Json& name : *list) {
        if (!name.is_string()) refuse(pointer, "\"required\" must be a list of names");
        required.insert(name.get<std::string>());
      }
    }
    // Other properties: as the schema says; when it says nothing, only where it lists none itself.
    const auto additional = schema.find("additionalProperties");
    const bool says = additional != schema.end();
    Expression other =
        says ? value(*additional, pointer + "/additionalProperties") : (properties.empty() ? json_.value() : nothing());

    std::vector<Member> members;
    std::vector<std::string> names;
    const auto add = [&](const std::string& name, Expression text) {
      const bool needed = required.erase(name) > 0;
      names.push_back(name);
      if (matches_nothing(text)) {
        if (needed) refuse_contradiction();
        if (needed) refuse(pointer, fmt::format("\"required\" names {}, which nothing satisfies", text::quoted(name)));
        return;
      }
      members.push_back({name, needed,
                         shared(json_.member(literal(Json(name).dump()), std::move(text)),
                                pointer + "/properties/" + SchemaMerge::escaped(name))});
    };
    for (const auto& [name, property] : properties.items()) {
      contradiction_.reset();
      add(name, value(property, pointer + "/properties/" + SchemaMerge::escaped(name)));
    }
    contradiction_.reset();
    const std::vector<std::string> unlisted(required.begin(), required.end());
    for (const std::string& name : unlisted) add(name, says ? other : json_.value());

    const std::size_t n_required = static_cast<std::size_t>(
        std::count_if(members.begin(), members.end(), [](const Member& m) { return m.required; }));
    const std::uint32_t min = count(schema, "minProperties", 0, pointer);
    const std::uint32_t max = count(schema, "maxProperties", kUnbounded, pointer);
    if (min > max) return contradiction(schema, "minProperties", "maxProperties", pointer);
    const bool open = !matches_nothing(other);
    Expression extra;
    if (open)
      extra = shared(json_.member(names.empty() ? json_.string() : other_key(names), std::move(other)), pointer);
    if (members.empty()) {
      if (!open && min > 0) return nothing();
      return json_.in_braces(open ? json_.list(extra, min, max) : literal(""));
    }
    if (min > n_required) refuse(pointer, "\"minProperties\" above the number of required properties is not supported");
    if (max < members.size() || (open && max != kUnbounded))
      refuse(pointer, "\"maxProperties\" below the number of properties there can be is not supported");
    return json_.in_braces(in_order(members, open ? &extra : nullptr, pointer));
  }

  // The members in the schema's order, optional ones left out freely, then others. Two chains of rules: what follows
  // when a member has come already, and when none has.
  Expression in_order(const std::vector<Member>& members, const Expression* extra, const std::string& pointer) {
    Expression after = extra == nullptr ? literal("") : repeat(sequence({json_.comma(), *extra}), 0, kUnbounded);
    Expression none = extra == nullptr ? literal("") : json_.list(*extra, 0, kUnbounded);
    for (std::size_t i = members.size(); i-- > 0;) {
      after = shared(std::move(after), pointer);
      Expression with = sequence({members[i].text, after});
      none = members[i].required ? std::move(with) : choice({std::move(with), shared(std::move(none), pointer)});
      Expression next = sequence({json_.comma(), members[i].text});
      after = sequence({members[i].required ? std::move(next) : optional(std::move(next)), std::move(after)});
    }
    return none;
  }

  // A key that is none of `names`, spelled without escapes: letter by letter along a trie of the names.
  Expression other_key(const std::vector<std::string>& names) {
    struct Node {
      std::map<char32_t, std::size_t> next;
      bool name = false;
    };
    std::vector<Node> trie(1);
    for (const std::string& name : names) {
      std::size_t node = 0;
      for (std::size_t at = 0; at < name.size();) {
        const Utf8Char c = decode_utf8(name, at);
        at += c.length;
        const auto found = trie[node].next.find(c.code);
        if (found != trie[node].next.end()) {
          node = found->second;
        } else {
          trie[node].next.emplace(c.code, trie.size());
          node = trie.size();
          trie.emplace_back();
        }
      }
      trie[node].name = true;
    }
    std::vector<CodeRange> forbidden = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    const Expression any = char_class(complement(forbidden));
    const Expression rest = shared(sequence({repeat(any, 0, kUnbounded), literal("\"")}), "/(other key)");
    std::vector<std::uint32_t> rules;
    for (std::size_t i = 0; i < trie.size(); ++i) rules.push_back(grammar_.add("#/(other key)", merge_.where("")));
    for (std::size_t i = 0; i < trie.size(); ++i) {
      std::vector<Expression> ways;
      std::vector<CodeRange> known = forbidden;
      for (const auto& [c, node] : trie[i].next) {
        known.push_back({c, c});
        std::string text;
        append_utf8(text, c);
        if (c >= 0x20 && c != '"' && c != '\\') ways.push_back(sequence({literal(text), rule_reference(rules[node])}));
      }
      ways.push_back(sequence({char_class(complement(known)), rest}));
      if (!trie[i].name) ways.push_back(literal("\""));
      grammar_.rules[rules[i]].body = choice(std::move(ways));
    }
    return sequence({literal("\""), rule_reference(rules[0])});
  }

  SchemaMerge merge_;
  Grammar grammar_;
  JsonRules json_;
  std::map<std::string, std::uint32_t> rules_;  // by pointer
  std::deque<std::string> waiting_;
  std::size_t visited_ = 0;
  struct Contradiction {
    std::string pointer, what;
  };
  std::optional<Contradiction> contradiction_;  // the first in the rule, or property, at hand
};

}  // namespace

Grammar grammar_from_json_schema(std::string_view schema, std::string_view name) {
  if (schema.size() > kMaxSchema) fail(name, "the schema has {} bytes, at most {} are read", schema.size(), kMaxSchema);
  const Json root = parse_json(schema, name, kMaxDepth);
  return Translator(root, name).run();
}

}  // namespace lathe::text::grammar
