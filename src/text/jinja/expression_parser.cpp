#include "text/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace lathe::jinja {
namespace {

constexpr int kMaxNesting = 100;         // parentheses in parentheses, blocks in blocks
constexpr int kMaxExpressionDepth = 250; // a + b + c + ... makes a tree as deep as it is long

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText: return "text";
    case TokenKind::kBlockBegin: return "'{%'";
    case TokenKind::kBlockEnd: return "'%}'";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kVariableEnd: return "'}}'";
    case TokenKind::kString: return "a string";
    case TokenKind::kEnd: return "the end of the template";
    default: return "'" + token.text + "'";
  }
}

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (++parser.nesting_ > kMaxNesting) {
    --parser.nesting_;
    parser.error(parser.current().at, fmt::format("nested deeper than {} levels", kMaxNesting));
  }
}

ExpressionParser::ExpressionParser(Template& target) : target_(target), tokens_(tokenize(target.source, target.name)) {
  for (const char* name : {"loop", "caller", "varargs", "kwargs"}) symbol(name);
}

void ExpressionParser::error(std::size_t at, std::string problem) const {
  fail_at(target_.name, target_.source, at, std::move(problem));
}

void ExpressionParser::unexpected(std::string_view expected) const {
  error(current().at, fmt::format("expected {}, found {}", expected, describe(current())));
}

bool ExpressionParser::skip_op(std::string_view op) {
  if (!is_op(op)) return false;
  advance();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  advance();
  return true;
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
}

std::string ExpressionParser::expect_name(std::string_view what) {
  if (current().kind != TokenKind::kName) unexpected(what);
  return advance().text;
}

Symbol ExpressionParser::symbol(const std::string& name) {
  const auto [it, added] = symbols_.try_emplace(name, static_cast<Symbol>(target_.symbols.size()));
  if (added) target_.symbols.push_back(name);
  return it->second;
}

ExprPtr ExpressionParser::make(ExprKind kind, std::uint32_t at, std::vector<ExprPtr> children) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->at = at;
  for (const ExprPtr& child : children) {
    if (child != nullptr) node->depth = std::max(node->depth, child->depth + 1);
  }
  node->children = std::move(children);
  if (node->depth > kMaxExpressionDepth) error(at, "this expression is too long or nested too deeply");
  return node;
}

ExprPtr ExpressionParser::literal(std::uint32_t at, Value value) {
  ExprPtr node = make(ExprKind::kLiteral, at);
  node->value = std::move(value);
  return node;
}

namespace {

std::vector<ExprPtr> children_of(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> children;
  children.push_back(std::move(a));
  children.push_back(std::move(b));
  return children;
}

std::vector<ExprPtr> only_child(ExprPtr a) {
  std::vector<ExprPtr> children;
  children.push_back(std::move(a));
  return children;
}

}  // namespace

ExprPtr ExpressionParser::binary(BinaryOp op, ExprPtr left, ExprPtr right, std::uint32_t at) {
  ExprPtr node = make(ExprKind::kBinary, at, children_of(std::move(left), std::move(right)));
  node->op = op;
  return node;
}

ExprPtr ExpressionParser::expression(bool with_conditional) {
  const Nesting nesting(*this);
  return with_conditional ? conditional() : disjunction();
}

ExprPtr ExpressionParser::conditional() {
  ++soft_;  // the value stands before the 'if' that makes it conditional
  const std::size_t begin = position_;
  ExprPtr value = disjunction();
  --soft_;
  if (!is_name("if")) {
    if (soft_ == 0) {
      // Not conditional after all: unknown filters in it are errors now.
      position_ = begin;
      value = disjunction();
    }
    return value;
  }
  while (is_name("if")) {
    const std::uint32_t at = advance().at;
    ++soft_;
    std::vector<ExprPtr> children = children_of(std::move(value), disjunction());
    children.push_back(skip_name("else") ? expression() : nullptr);
    --soft_;
    value = make(ExprKind::kConditional, at, std::move(children));
  }
  return value;
}

ExprPtr ExpressionParser::disjunction() {
  const std::uint32_t at = current().at;
  std::vector<ExprPtr> parts = only_child(conjunction());
  while (skip_name("or")) parts.push_back(conjunction());
  return parts.size() == 1 ? std::move(parts[0]) : make(ExprKind::kOr, at, std::move(parts));
}

ExprPtr ExpressionParser::conjunction() {
  const std::uint32_t at = current().at;
  std::vector<ExprPtr> parts = only_child(negation());
  while (skip_name("and")) parts.push_back(negation());
  return parts.size() == 1 ? std::move(parts[0]) : make(ExprKind::kAnd, at, std::move(parts));
}

ExprPtr ExpressionParser::negation() {
  if (!is_name("not")) return comparison();
  const Nesting nesting(*this);
  const std::uint32_t at = advance().at;
  return make(ExprKind::kNot, at, only_child(negation()));
}

bool ExpressionParser::next_comparison(Comparison& comparison) {
  static constexpr std::pair<std::string_view, Comparison> kOperators[] = {
      {"==", Comparison::kEqual},     {"!=", Comparison::kNotEqual}, {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual}, {">", Comparison::kGreater},   {">=", Comparison::kGreaterEqual}};
  for (const auto& [text, meaning] : kOperators) {
    if (skip_op(text)) {
      comparison = meaning;
      return true;
    }
  }
  if (skip_name("in")) {
    comparison = Comparison::kIn;
    return true;
  }
  if (is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
    advance();
    advance();
    comparison = Comparison::kNotIn;
    return true;
  }
  return false;
}

ExprPtr ExpressionParser::comparison() {
  std::vector<ExprPtr> parts = only_child(sum());
  std::vector<Comparison> comparisons;
  const std::uint32_t at = current().at;
  for (Comparison comparison{}; next_comparison(comparison);) {
    comparisons.push_back(comparison);
    parts.push_back(sum());
  }
  if (comparisons.empty()) return std::move(parts[0]);
  ExprPtr node = make(ExprKind::kCompare, at, std::move(parts));
  node->comparisons = std::move(comparisons);
  return node;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (is_op("+") || is_op("-")) {
    const Token& token = advance();
    left = binary(token.text == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract, std::move(left), concatenation(), token.at);
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  std::vector<ExprPtr> parts = only_child(product());
  const std::uint32_t at = current().at;
  while (skip_op("~")) parts.push_back(product());
  return parts.size() == 1 ? std::move(parts[0]) : make(ExprKind::kConcat, at, std::move(parts));
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Token& token = advance();
    const BinaryOp op = token.text == "*"    ? BinaryOp::kMultiply
                        : token.text == "/"  ? BinaryOp::kDivide
                        : token.text == "//" ? BinaryOp::kFloorDivide
                                             : BinaryOp::kModulo;
    left = binary(op, std::move(left), power(), token.at);
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary();
  while (is_op("**")) {
    const std::uint32_t at = advance().at;
    left = binary(BinaryOp::kPower, std::move(left), unary(), at);
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  if (!is_op("-") && !is_op("+")) return postfix_and_filters(primary(), with_filters);
  const Nesting nesting(*this);
  const Token& token = advance();
  ExprPtr value = make(token.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, token.at, only_child(unary(false)));
  return postfix_and_filters(std::move(value), with_filters);
}

ExprPtr ExpressionParser::primary() {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName: return name_or_constant();
    case TokenKind::kInteger: return literal(token.at, Value::integer(advance().integer));
    case TokenKind::kFloat: return literal(token.at, Value::real(advance().real));
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) text += advance().text;
      return literal(token.at, Value::string(*target_.constants, std::move(text)));
    }
    default: break;
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
  if (token.kind != TokenKind::kName) error(token.at, fmt::format("expected a name after '.', found {}", describe(token)));
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

void ExpressionParser::attach(Expr& node, std::vector<Argument> arguments) {
  for (const Argument& argument : arguments) node.depth = std::max(node.depth, argument.value->depth + 1);
  node.arguments = std::move(arguments);
  if (node.depth > kMaxExpressionDepth) error(node.at, "this expression is too long or nested too deeply");
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
