// What the fuzzer feeds: one function per parser. Bad input ends in lathe::Error, which the function swallows; anything
// else that escapes, and anything a sanitizer sees, is a bug. The same functions replay seeds and mutations in the
// ordinary tests (tests/hostile).
#pragma once

#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::fuzz {

struct Target {
  std::string_view name;
  void (*run)(std::string_view data);
  std::vector<std::string> (*seeds)();  // small valid inputs
};

// How GoogleTest shows a target.
inline void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

std::span<const Target> parser_targets();
const Target& target_named(std::string_view name);  // one of those
// From a file to generated text. Apart from the parsers, since it needs the engine.
const Target& model_target();
// A file of prefixes into a prefix tree; needs the cache and its backend.
const Target& prefixes_target();
// A request to the server, without sockets.
const Target& serve_target();

}  // namespace lathe::fuzz
