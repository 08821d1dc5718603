// Counts the levels of nested evaluation, so that recursion in a template ends before the stack does.
#pragma once

#include "text/jinja/interpreter.h"

namespace lathe::jinja {

class DepthGuard {
 public:
  explicit DepthGuard(Interpreter& interpreter) : interpreter_(interpreter) {
    if (interpreter.depth_ >= interpreter.heap_.limits().depth) {
      throw EvalError{"the template nests or recurses too deeply"};
    }
    ++interpreter.depth_;
  }
  ~DepthGuard() { --interpreter_.depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Interpreter& interpreter_;
};

}  // namespace lathe::jinja
