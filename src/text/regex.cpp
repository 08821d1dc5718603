#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

constexpr std::size_t kMaxPattern = 64 * 1024;
constexpr std::uint32_t kDepthLimit = 100'000, kHeapLimitKib = 64 * 1024;

// The White_Space property, which PCRE2's \s exceeds by U+180E.
constexpr std::string_view kSpaces =
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

// Spells \s and \S as explicit classes. Inside a class \s becomes its ranges; \S inside a class is left to PCRE2.
std::string translate(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's' && in_class) {
        out += kSpaces;
      } else if (next == 's' || (next == 'S' && !in_class)) {
        out += next == 's' ? "[" : "[^";
        out += kSpaces;
        out += ']';
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
      out += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
        out += "\\]";
        ++i;
      }
      continue;
    }
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, std::string_view where)
    : pattern_(pattern), where_(where), code_(std::make_unique<Code>()) {
  if (pattern.size() > kMaxPattern) fail(where, "a regular expression of {} bytes is too long", pattern.size());
  if (!is_valid_utf8(pattern)) fail(where, "a regular expression is not valid UTF-8: {}", quoted(pattern));
  const std::string translated = translate(pattern);
  int error = 0;
  PCRE2_SIZE at = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr);
  if (code_->code == nullptr) {
    fail(where, "invalid regular expression {}: {}", quoted(pattern, 200), message_of(error));
  }
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

Regex::Matcher::Matcher(const Regex& regex, std::uint32_t most_steps)
    : regex_(regex), state_(std::make_unique<State>()) {
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  if (state_->data == nullptr || state_->context == nullptr)
    throw Error("out of memory for a regular expression", regex.where_);
  pcre2_set_match_limit(state_->context, most_steps);
  pcre2_set_depth_limit(state_->context, kDepthLimit);
  pcre2_set_heap_limit(state_->context, kHeapLimitKib);
}

Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, std::size_t from, Match& match) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int rc = PCRE2_ERROR_JIT_STACKLIMIT;
  if (regex_.code_->jit) {
    rc = pcre2_jit_match(regex_.code_->code, subject, text.size(), from, 0, state_->data, state_->context);
  }
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(regex_.code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state_->data,
                     state_->context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) {
    throw Error(fmt::format("regular expression {} gave up: {}", quoted(regex_.pattern_, 200), message_of(rc)),
                regex_.where_, "the pattern backtracks too much on this text");
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state_->data);
  if (bounds[1] < bounds[0]) return false;  // \K inside a lookahead can do this
  match = {bounds[0], bounds[1]};
  return true;
}

}  // namespace lathe::text
