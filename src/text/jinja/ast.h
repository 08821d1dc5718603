// The parsed template: a tree of expressions and statements. Immutable once built, so that any number of renderings may
// read it at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace lathe::jinja {

using Symbol = std::uint32_t;  // a variable's name, numbered within its template

enum class ExprKind : std::uint8_t {
  kLiteral,     // value
  kName,        // symbol, text
  kList,        // children
  kTuple,       // children
  kDict,        // children: key, value, key, value, ...
  kAttribute,   // children[0] . text
  kSubscript,   // children[0] [ children[1] ]
  kSlice,       // children[0] [ children[1] : children[2] : children[3] ], null where left out
  kCall,        // children[0] ( arguments )
  kFilter,      // children[0] | text ( arguments ); without children[0] inside a filter block
  kTest,        // children[0] is text ( arguments )
  kNot,         // children[0]
  kAnd,         // children, two or more
  kOr,          // children, two or more
  kCompare,     // children, one more than comparisons
  kConcat,      // children joined as text
  kBinary,      // children[0] op children[1]
  kNegate,      // children[0]
  kPlus,        // children[0]
  kConditional  // children[0] if children[1] else children[2] (null when left out)
};

enum class Comparison : std::uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  enum class Kind : std::uint8_t { kPositional, kNamed, kSpread, kSpreadNamed } kind;
  std::string name;
  ExprPtr value;
};

struct Expr {
  ExprKind kind;
  BinaryOp op{};
  std::uint32_t at = 0;  // byte offset in the source
  int depth = 1;         // levels below and with this one
  Symbol symbol = 0;
  std::string text;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<Argument> arguments;
  std::vector<Comparison> comparisons;
  Builtin filter = nullptr;  // null: unknown, an error if it is reached
  Test test = nullptr;
};

enum class StmtKind : std::uint8_t {
  kText,       // text
  kOutput,     // expr
  kIf,         // branches (conditions and bodies), else_body
  kFor,        // target in expr if filter: body else else_body
  kSet,        // target = expr
  kSetBlock,   // target = body, through filter when given
  kMacro,      // symbol(parameters): body
  kCallBlock,  // expr is the call; parameters and body make `caller`
  kFilter,     // body through filter
  kWith,       // targets = values: body
  kScope,      // body in a scope of its own
  kBreak,
  kContinue,
};

// What an assignment assigns to: a name, a namespace's attribute, or several targets.
struct Target {
  std::uint32_t at = 0;
  Symbol symbol = 0;
  std::string attribute;      // of the namespace that `symbol` names; empty for a plain name
  std::vector<Target> parts;  // unpacking
  bool unpacks = false;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  Symbol symbol;
  std::string name;
  ExprPtr otherwise;  // its default, or null
};

struct Branch {
  ExprPtr condition;
  Block body;
};

struct Stmt {
  StmtKind kind;
  bool recursive = false;    // for ... recursive
  bool uses_extra = false;   // the macro reads varargs
  bool uses_named = false;   // the macro reads kwargs
  bool uses_caller = false;  // the macro reads caller
  std::uint32_t at = 0;
  Symbol symbol = 0;
  std::string text;
  ExprPtr expr, filter;
  Target target;
  std::vector<Target> targets;
  std::vector<ExprPtr> values;
  std::vector<Parameter> parameters;
  std::vector<Branch> branches;
  Block body, else_body;
};

// Symbols that the interpreter itself sets.
enum : Symbol { kLoopSymbol, kCallerSymbol, kVarargsSymbol, kKwargsSymbol, kFirstFreeSymbol };

struct Template {
  std::string name, source;
  std::unique_ptr<Heap> constants;  // outlives the tree below
  std::vector<std::string> symbols;
  Block body;
};

}  // namespace lathe::jinja
