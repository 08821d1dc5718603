// Operators, from the inline `if` down to the signs; what they operate on is in operand_parser.cpp.
#include "text/jinja/expression_parser.h"

#include <fmt/core.h>

#include <algorithm>

namespace lathe::jinja {
namespace {

constexpr int kMaxNesting = 100;          // parentheses in parentheses, blocks in blocks
constexpr int kMaxExpressionDepth = 250;  // a + b + c + ... makes a tree as deep as it is long

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText:
      return "text";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
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

void ExpressionParser::attach(Expr& node, std::vector<Argument> arguments) {
  for (const Argument& argument : arguments) node.depth = std::max(node.depth, argument.value->depth + 1);
  node.arguments = std::move(arguments);
  if (node.depth > kMaxExpressionDepth) error(node.at, "this expression is too long or nested too deeply");
}

}  // namespace lathe::jinja
