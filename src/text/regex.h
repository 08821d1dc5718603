// Regular expressions over valid UTF-8, as tokenizer files write them (Oniguruma and Rust syntax, Unicode classes), on
// PCRE2 with its JIT compiler. A limit on backtracking turns a catastrophic pattern into an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace lathe::text {

class Regex {
 public:
  // Throws Error naming `where` and the position of the fault in the pattern.
  Regex(std::string_view pattern, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  const std::string& pattern() const { return pattern_; }

  struct Match {
    std::size_t begin, end;
  };
  // Working memory of one search; not shared between threads.
  class Matcher {
   public:
    // A search that takes more than `most_steps` of backtracking throws an Error.
    explicit Matcher(const Regex& regex, std::uint32_t most_steps = 20'000'000);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    // The next match in `text` (valid UTF-8) that starts at `from` or later; false when there is none.
    bool find(std::string_view text, std::size_t from, Match& match);

   private:
    const Regex& regex_;
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::string pattern_, where_;
  std::unique_ptr<Code> code_;
};

}  // namespace lathe::text
