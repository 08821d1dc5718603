// How Lathe says that something failed: what, where (file, tensor, line, request), and what to do about it.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace lathe {

// what() reads "where: what (remedy)", on one line; `where` and `remedy` may be empty.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string what, std::string where = {}, std::string remedy = {});

  const std::string& problem() const { return problem_; }
  const std::string& where() const { return where_; }
  const std::string& remedy() const { return remedy_; }

  // The same error seen from one level further out: "outer: where: what".
  Error within(std::string_view outer) const;

 private:
  std::string problem_, where_, remedy_;
};

// A command line or API call that can never work as written (exit status 2).
class UsageError : public Error {
 public:
  using Error::Error;
};

// The user pressed Ctrl-C, or a caller cancelled.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

// fail("model.gguf", "tensor {} has {} dimensions", name, n) throws Error.
template <class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), std::string(where));
}

}  // namespace lathe
