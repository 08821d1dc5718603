// Tokens to expressions, with Jinja's precedence (which is not quite Python's: ** associates to the left, filters bind
// tighter than everything but postfix operators). Nesting is bounded, so that no source can exhaust the stack.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace lathe::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(Template& target);

 protected:
  // Guards one level of recursion.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const Token& advance() { return tokens_[position_ < tokens_.size() - 1 ? position_++ : position_]; }
  bool is_op(std::string_view op) const { return current().kind == TokenKind::kOperator && current().text == op; }
  bool is_name(std::string_view name) const { return current().kind == TokenKind::kName && current().text == name; }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name(std::string_view what);
  [[noreturn]] void error(std::size_t at, std::string problem) const;
  [[noreturn]] void unexpected(std::string_view expected) const;

  Symbol symbol(const std::string& name);
  ExprPtr make(ExprKind kind, std::uint32_t at, std::vector<ExprPtr> children = {});
  ExprPtr literal(std::uint32_t at, Value value);

  ExprPtr expression(bool with_conditional = true);
  // One expression, or a tuple of several with commas between them; ends before the name `end_name`.
  ExprPtr tuple_or_expression(bool with_conditional = true, std::string_view end_name = {}, bool parenthesized = false);
  // The filters that follow: "a | b(c) | d". `value` may be null (inside a filter block).
  ExprPtr filters(ExprPtr value, bool starts_with_name);
  std::vector<Argument> arguments();

  Template& target_;
  int soft_ = 0;  // inside a branch, where an unknown filter is an error only if it is reached
  bool read_varargs_ = false, read_kwargs_ = false, read_caller_ = false;

 private:
  ExprPtr conditional();
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr value);
  ExprPtr postfix_and_filters(ExprPtr value, bool with_filters);
  ExprPtr attribute(ExprPtr value);
  ExprPtr subscript(ExprPtr value);
  ExprPtr call(ExprPtr callee);
  ExprPtr test(ExprPtr value);
  void attach(Expr& node, std::vector<Argument> arguments);
  ExprPtr binary(BinaryOp op, ExprPtr left, ExprPtr right, std::uint32_t at);
  bool ends_tuple(std::string_view end_name) const;
  bool next_comparison(Comparison& comparison);
  std::string dotted_name(std::string_view what);

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
  int nesting_ = 0;
  std::unordered_map<std::string, Symbol> symbols_;
};

// A node's children from one or two.
std::vector<ExprPtr> only_child(ExprPtr a);
std::vector<ExprPtr> children_of(ExprPtr a, ExprPtr b);

// What a token is, for messages: "'%}'", "'name'", "the end of the template".
std::string describe(const Token& token);

}  // namespace lathe::jinja
