#include "text/jinja/parser.h"

#include <fmt/core.h>

#include <initializer_list>
#include <utility>

#include "text/jinja/expression_parser.h"

namespace lathe::jinja {
namespace {

class Parser final : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  void run() {
    target_.body = block({}, "");
    if (current().kind != TokenKind::kEnd) unexpected("a tag");
  }

 private:
  // Statements up to a tag whose name is one of `ends`; that tag's name is left as the current token.
  Block block(std::initializer_list<std::string_view> ends, std::string_view opened_by) {
    const Nesting nesting(*this);
    Block body;
    while (true) {
      const Token& token = current();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() != 0) missing_end(ends, opened_by);
        return body;
      }
      if (token.kind == TokenKind::kText) {
        auto statement = make_statement(StmtKind::kText, token.at);
        statement->text = advance().text;
        body.push_back(std::move(statement));
      } else if (token.kind == TokenKind::kVariableBegin) {
        advance();
        auto statement = make_statement(StmtKind::kOutput, current().at);
        statement->expr = tuple_or_expression();
        if (current().kind != TokenKind::kVariableEnd) unexpected("'}}'");
        advance();
        body.push_back(std::move(statement));
      } else {
        advance();
        if (current().kind != TokenKind::kName) unexpected("a tag's name");
        for (std::string_view end : ends) {
          if (current().text == end) return body;
        }
        if (auto made = statement(ends, opened_by)) body.push_back(std::move(made));
      }
    }
  }

  [[noreturn]] void missing_end(std::initializer_list<std::string_view> ends, std::string_view opened_by) {
    const std::string_view end = *(ends.end() - 1);
    error(opened_at_, fmt::format("this '{}' has no end: '{{% {} %}}' is missing", opened_by, end));
  }

  // The body of the tag at `at`, with its end tag consumed.
  Block body_until(std::string_view end, std::string_view opened_by, std::uint32_t at) {
    Block body = inside(at, {end}, opened_by);
    advance();
    end_tag();
    return body;
  }

  Block inside(std::uint32_t at, std::initializer_list<std::string_view> ends, std::string_view opened_by) {
    const std::uint32_t outer = std::exchange(opened_at_, at);
    Block body = block(ends, opened_by);
    opened_at_ = outer;
    return body;
  }

  void end_tag() {
    if (current().kind != TokenKind::kBlockEnd) unexpected("'%}'");
    advance();
  }

  std::unique_ptr<Stmt> make_statement(StmtKind kind, std::uint32_t at) {
    auto statement = std::make_unique<Stmt>();
    statement->kind = kind;
    statement->at = at;
    return statement;
  }

  std::unique_ptr<Stmt> statement(std::initializer_list<std::string_view> ends, std::string_view opened_by) {
    const std::uint32_t at = current().at;
    const std::string tag = advance().text;
    if (tag == "if") return if_statement(at);
    if (tag == "for") return for_statement(at);
    if (tag == "set") return set_statement(at);
    if (tag == "macro") return macro(at);
    if (tag == "call") return call_block(at);
    if (tag == "filter") return filter_block(at);
    if (tag == "with") return with(at);
    if (tag == "print") return print(at);
    if (tag == "break" || tag == "continue") return loop_control(at, tag == "break");
    if (tag == "generation") {
      // Marks what the model wrote, for training masks; to a rendering it is only its content.
      end_tag();
      auto scope = make_statement(StmtKind::kScope, at);
      scope->body = body_until("endgeneration", "generation", at);
      return scope;
    }
    for (std::string_view unsupported : {"block", "extends", "include", "import", "from", "autoescape"}) {
      if (tag == unsupported) error(at, fmt::format("'{}' is not supported in chat templates", tag));
    }
    if (ends.size() != 0) {
      error(at, fmt::format("unknown tag '{}' ('{}' is open and waits for '{}')", tag, opened_by, *(ends.end() - 1)));
    }
    error(at, fmt::format("unknown tag '{}'", tag));
  }

  std::unique_ptr<Stmt> if_statement(std::uint32_t at) {
    auto result = make_statement(StmtKind::kIf, at);
    ++soft_;
    while (true) {
      Branch branch;
      branch.condition = tuple_or_expression(false);
      end_tag();
      branch.body = inside(at, {"elif", "else", "endif"}, "if");
      result->branches.push_back(std::move(branch));
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) {
      end_tag();
      result->else_body = inside(at, {"endif"}, "if");
    }
    advance();
    --soft_;
    end_tag();
    return result;
  }

  std::unique_ptr<Stmt> for_statement(std::uint32_t at) {
    auto result = make_statement(StmtKind::kFor, at);
    result->target = target("in");
    if (!skip_name("in")) unexpected("'in'");
    result->expr = tuple_or_expression(false, "recursive");
    if (skip_name("if")) result->filter = expression();
    result->recursive = skip_name("recursive");
    end_tag();
    ++loops_;
    result->body = inside(at, {"else", "endfor"}, "for");
    --loops_;
    if (is_name("else")) {
      advance();
      end_tag();
      result->else_body = inside(at, {"endfor"}, "for");
    }
    advance();
    end_tag();
    return result;
  }

  Target single_target() {
    Target result;
    result.at = current().at;
    if (skip_op("(")) {
      result = target("");
      expect_op(")");
      return result;
    }
    const std::string name = expect_name("a variable's name");
    for (std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (name == reserved) error(result.at, fmt::format("cannot assign to '{}'", name));
    }
    result.symbol = symbol(name);
    return result;
  }

  // One or several names; ends before the name `end_name`.
  Target target(std::string_view end_name) {
    const Nesting nesting(*this);
    Target first = single_target();
    if (!is_op(",")) return first;
    Target all;
    all.at = first.at;
    all.unpacks = true;
    all.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (is_op("=") || is_op(")") || (!end_name.empty() && is_name(end_name)) ||
          current().kind == TokenKind::kBlockEnd)
        break;
      all.parts.push_back(single_target());
    }
    return all;
  }

  std::unique_ptr<Stmt> set_statement(std::uint32_t at) {
    auto result = make_statement(StmtKind::kSet, at);
    if (current().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator && ahead().text == ".") {
      result->target = single_target();
      advance();
      result->target.attribute = expect_name("an attribute's name");
    } else {
      result->target = target("");
    }
    if (skip_op("=")) {
      result->expr = tuple_or_expression();
      end_tag();
      return result;
    }
    result->kind = StmtKind::kSetBlock;
    if (is_op("|")) result->filter = filters(nullptr, false);
    end_tag();
    result->body = body_until("endset", "set", at);
    return result;
  }

  void signature(Stmt& result) {
    expect_op("(");
    while (!is_op(")")) {
      if (!result.parameters.empty()) expect_op(",");
      if (is_op(")")) break;
      const std::uint32_t at = current().at;
      Parameter parameter;
      parameter.name = expect_name("a parameter's name");
      parameter.symbol = symbol(parameter.name);
      if (skip_op("=")) {
        parameter.otherwise = expression();
      } else if (!result.parameters.empty() && result.parameters.back().otherwise != nullptr) {
        error(at, "a parameter without default follows one with a default");
      }
      result.parameters.push_back(std::move(parameter));
    }
    expect_op(")");
  }

  // The body of a macro or call block, noting which of the implicit variables it reads.
  void macro_body(Stmt& result, std::string_view end, std::string_view opened_by) {
    const bool varargs = std::exchange(read_varargs_, false), kwargs = std::exchange(read_kwargs_, false);
    const bool caller = std::exchange(read_caller_, false);
    const int loops = std::exchange(loops_, 0);
    result.body = body_until(end, opened_by, result.at);
    loops_ = loops;
    result.uses_extra = read_varargs_;
    result.uses_named = read_kwargs_;
    result.uses_caller = read_caller_;
    read_varargs_ |= varargs;
    read_kwargs_ |= kwargs;
    read_caller_ |= caller;
  }

  std::unique_ptr<Stmt> macro(std::uint32_t at) {
    auto result = make_statement(StmtKind::kMacro, at);
    result->text = expect_name("a macro's name");
    result->symbol = symbol(result->text);
    signature(*result);
    end_tag();
    macro_body(*result, "endmacro", "macro");
    return result;
  }

  std::unique_ptr<Stmt> call_block(std::uint32_t at) {
    auto result = make_statement(StmtKind::kCallBlock, at);
    result->text = "caller";
    if (is_op("(")) signature(*result);
    const std::uint32_t call_at = current().at;
    result->expr = expression();
    if (result->expr->kind != ExprKind::kCall) error(call_at, "expected a call");
    end_tag();
    macro_body(*result, "endcall", "call");
    return result;
  }

  std::unique_ptr<Stmt> filter_block(std::uint32_t at) {
    auto result = make_statement(StmtKind::kFilter, at);
    result->filter = filters(nullptr, true);
    end_tag();
    result->body = body_until("endfilter", "filter", at);
    return result;
  }

  std::unique_ptr<Stmt> with(std::uint32_t at) {
    auto result = make_statement(StmtKind::kWith, at);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!result->targets.empty()) expect_op(",");
      result->targets.push_back(single_target());
      expect_op("=");
      result->values.push_back(expression());
    }
    end_tag();
    result->body = body_until("endwith", "with", at);
    return result;
  }

  std::unique_ptr<Stmt> print(std::uint32_t at) {
    auto result = make_statement(StmtKind::kOutput, at);
    std::vector<ExprPtr> parts;
    do {
      parts.push_back(expression());
    } while (skip_op(","));
    result->expr = make(ExprKind::kConcat, at, std::move(parts));
    end_tag();
    return result;
  }

  std::unique_ptr<Stmt> loop_control(std::uint32_t at, bool is_break) {
    if (loops_ == 0) error(at, fmt::format("'{}' outside of a loop", is_break ? "break" : "continue"));
    end_tag();
    return make_statement(is_break ? StmtKind::kBreak : StmtKind::kContinue, at);
  }

  std::uint32_t opened_at_ = 0;  // the innermost tag that waits for its end
  int loops_ = 0;
};

}  // namespace

Template parse_template(std::string_view source, std::string name) {
  Template result;
  result.source = normalize_source(source, name);
  result.name = std::move(name);
  result.constants = std::make_unique<Heap>(Limits{});
  Parser(result).run();
  return result;
}

}  // namespace lathe::jinja
