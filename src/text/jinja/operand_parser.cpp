// What operators stand between: literals, names, displays, and what follows them (attributes, calls, filters, tests).
#include <fmt/core.h>

#include "text/jinja/expression_parser.h"

namespace lathe::jinja {

ExprPtr ExpressionParser::primary() {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName:
      return name_or_constant();
    case TokenKind::kInteger:
      return literal(token.at, Value::integer(advance().integer));
    case TokenKind::kFloat:
      return literal(token.at, Value::real(advance().real));
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) text += advance().text;
      return literal(token.at, Value::string(*target_.constants, std::move(text)));
    }
    default:
      break;
  }
  if (is_op("(")) {
    advance();
    ExprPtr value = tuple_or_expression(true, {}, true);
    expect_op(")");
    return value;
  }
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  unexpected("an expression");
}

ExprPtr ExpressionParser::name_or_constant() {
  const Token& token = advance();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return literal(token.at, Value::boolean(true));
  if (name == "false" || name == "False") return literal(token.at, Value::boolean(false));
  if (name == "none" || name == "None") return literal(token.at, Value::none());
  ExprPtr node = make(ExprKind::kName, token.at);
  node->symbol = symbol(name);
  node->text = name;
  read_varargs_ |= node->symbol == kVarargsSymbol;
  read_kwargs_ |= node->symbol == kKwargsSymbol;
  read_caller_ |= node->symbol == kCallerSymbol;
  return node;
}

bool ExpressionParser::ends_tuple(std::string_view end_name) const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd || is_op(")") ||
         (!end_name.empty() && is_name(end_name));
}

ExprPtr ExpressionParser::tuple_or_expression(bool with_conditional, std::string_view end_name, bool parenthesized) {
  const std::uint32_t at = current().at;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!ends_tuple(end_name)) {
    items.push_back(expression(with_conditional));
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (!is_tuple && !parenthesized) unexpected("an expression");
  return make(ExprKind::kTuple, at, std::move(items));
}

ExprPtr ExpressionParser::list() {
  const std::uint32_t at = advance().at;
  std::vector<ExprPtr> items;
  while (!is_op("]")) {
    if (!items.empty()) expect_op(",");
    if (is_op("]")) break;
    items.push_back(expression());
  }
  expect_op("]");
  return make(ExprKind::kList, at, std::move(items));
}

ExprPtr ExpressionParser::dict() {
  const std::uint32_t at = advance().at;
  std::vector<ExprPtr> items;
  while (!is_op("}")) {
    if (!items.empty()) expect_op(",");
    if (is_op("}")) break;
    items.push_back(expression());
    expect_op(":");
    items.push_back(expression());
  }
  expect_op("}");
  return make(ExprKind::kDict, at, std::move(items));
}

ExprPtr ExpressionParser::postfix(ExprPtr value) {
  while (true) {
    if (is_op(".")) {
      value = attribute(std::move(value));
    } else if (is_op("[")) {
      value = subscript(std::move(value));
    } else if (is_op("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::postfix_and_filters(ExprPtr value, bool with_filters) {
  value = postfix(std::move(value));
  while (with_filters) {
    if (is_op("|")) {
      value = filters(std::move(value), false);
    } else if (is_name("is")) {
      value = test(std::move(value));
    } else if (is_op("(")) {
      value = call(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExprPtr ExpressionParser::attribute(ExprPtr value) {
  advance();
  const Token& token = advance();
  if (token.kind == TokenKind::kInteger) {
    ExprPtr key = literal(token.at, Value::integer(token.integer));
    return make(ExprKind::kSubscript, token.at, children_of(std::move(value), std::move(key)));
  }
  if (token.kind != TokenKind::kName)
    error(token.at, fmt::format("expected a name after '.', found {}", describe(token)));
  ExprPtr node = make(ExprKind::kAttribute, token.at, only_child(std::move(value)));
  node->text = token.text;
  return node;
}

ExprPtr ExpressionParser::subscript(ExprPtr value) {
  const std::uint32_t at = advance().at;
  ExprPtr bounds[3];
  bool is_slice = false;
  int part = 0;
  while (!is_op("]")) {
    if (is_op(":")) {
      advance();
      is_slice = true;
      if (++part > 2) unexpected("']'");
    } else {
      if (bounds[part] != nullptr) unexpected("']'");
      bounds[part] = is_slice ? expression() : tuple_or_expression();
    }
  }
  expect_op("]");
  if (!is_slice) {
    if (bounds[0] == nullptr) error(at, "a subscript needs an expression");
    return make(ExprKind::kSubscript, at, children_of(std::move(value), std::move(bounds[0])));
  }
  std::vector<ExprPtr> children = only_child(std::move(value));
  for (ExprPtr& bound : bounds) children.push_back(std::move(bound));
  return make(ExprKind::kSlice, at, std::move(children));
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  const std::uint32_t at = callee->at;
  ExprPtr node = make(ExprKind::kCall, at, only_child(std::move(callee)));
  attach(*node, arguments());
  return node;
}

std::vector<Argument> ExpressionParser::arguments() {
  expect_op("(");
  std::vector<Argument> result;
  bool named = false;
  while (!is_op(")")) {
    if (!result.empty()) expect_op(",");
    if (is_op(")")) break;
    const std::uint32_t at = current().at;
    if (skip_op("*")) {
      result.push_back({Argument::Kind::kSpread, {}, expression()});
    } else if (skip_op("**")) {
      named = true;
      result.push_back({Argument::Kind::kSpreadNamed, {}, expression()});
    } else if (current().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator && ahead().text == "=") {
      named = true;
      std::string name = advance().text;
      advance();
      result.push_back({Argument::Kind::kNamed, std::move(name), expression()});
    } else {
      if (named) error(at, "a positional argument after a named one");
      result.push_back({Argument::Kind::kPositional, {}, expression()});
    }
  }
  expect_op(")");
  return result;
}

std::string ExpressionParser::dotted_name(std::string_view what) {
  std::string name = expect_name(what);
  while (skip_op(".")) name += "." + expect_name(what);
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr value, bool starts_with_name) {
  while (starts_with_name || is_op("|")) {
    if (!starts_with_name) advance();
    starts_with_name = false;
    const std::uint32_t at = current().at;
    std::string name = dotted_name("a filter's name");
    ExprPtr node = make(ExprKind::kFilter, at, only_child(std::move(value)));
    node->filter = find_filter(name);
    if (node->filter == nullptr && soft_ == 0) error(at, fmt::format("unknown filter '{}'", name));
    node->text = std::move(name);
    if (is_op("(")) attach(*node, arguments());
    value = std::move(node);
  }
  return value;
}

ExprPtr ExpressionParser::test(ExprPtr value) {
  advance();
  const bool negated = skip_name("not");
  const std::uint32_t at = current().at;
  std::string name = dotted_name("a test's name");
  ExprPtr node = make(ExprKind::kTest, at, only_child(std::move(value)));
  node->test = find_test(name);
  if (node->test == nullptr && soft_ == 0) error(at, fmt::format("unknown test '{}'", name));
  node->text = std::move(name);
  const Token& token = current();
  const bool literal_follows = token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
                               token.kind == TokenKind::kFloat || is_op("[") || is_op("{");
  const bool name_follows = token.kind == TokenKind::kName && token.text != "else" && token.text != "or" &&
                            token.text != "and" && token.text != "if" && token.text != "in" && token.text != "not";
  if (is_op("(")) {
    attach(*node, arguments());
  } else if (literal_follows || name_follows) {
    if (is_name("is")) error(token.at, "tests cannot be chained with 'is'");
    std::vector<Argument> operand;
    operand.push_back({Argument::Kind::kPositional, {}, postfix(primary())});
    attach(*node, std::move(operand));
  }
  return negated ? make(ExprKind::kNot, at, only_child(std::move(node))) : std::move(node);
}

}  // namespace lathe::jinja
