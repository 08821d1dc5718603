#include "text/normalizer.h"

#include <optional>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

using Type = NormalizerStep::Type;

// Applies `change` to the stretches of valid UTF-8; other bytes stay as they are.
template <class Change>
std::string on_valid(std::string_view text, Change&& change) {
  std::size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return change(text);
  std::string out;
  while (!text.empty()) {
    if (valid > 0) out += change(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    out += text[0];
    text.remove_prefix(1);
    valid = valid_utf8_prefix(text);
  }
  return out;
}

std::string strip_marks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid || !is_nonspacing_mark(c.code)) out.append(text.substr(at, c.length));
    at += c.length;
  }
  return out;
}

// What may become of a text: far more than any Unicode form or real replacement makes of it, and little enough that a
// hostile file cannot fill the memory.
class Bound {
 public:
  explicit Bound(std::size_t bytes, std::string_view where)
      : most_((std::size_t{1} << 20) + 64 * bytes), where_(where) {}
  void check(std::size_t bytes) const {
    if (bytes > most_) fail(where_, "the normalizer makes more than {} bytes of a text", most_);
  }

 private:
  std::size_t most_;
  std::string_view where_;
};

std::string replace_literal(std::string_view text, std::string_view pattern, std::string_view content,
                            const Bound& bound) {
  if (pattern.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (std::size_t at = 0;;) {
    const std::size_t hit = text.find(pattern, at);
    out.append(text.substr(at, hit == std::string_view::npos ? hit : hit - at));
    if (hit == std::string_view::npos) return out;
    bound.check(out.size() + content.size());
    out.append(content);
    at = hit + pattern.size();
  }
}

std::string replace_regex(std::string_view text, const Regex& regex, std::string_view content, const Bound& bound) {
  Regex::Matcher matcher(regex);
  std::string out;
  std::size_t done = 0;
  Regex::Match m{};
  for (std::size_t at = 0; at <= text.size() && matcher.find(text, at, m);) {
    out.append(text.substr(done, m.begin - done));
    bound.check(out.size() + content.size());
    out.append(content);
    done = m.end;
    at = m.end;
    if (m.end == m.begin) at = m.end < text.size() ? m.end + decode_utf8(text, m.end).length : m.end + 1;
  }
  out.append(text.substr(done));
  return out;
}

std::string strip_space(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Char c = decode_utf8(text, 0);
    if (!is_white_space(c.code)) break;
    text.remove_prefix(c.length);
  }
  while (right && !text.empty()) {
    std::size_t back = 1;
    while (back < 4 && back < text.size() && (static_cast<unsigned char>(text[text.size() - back]) & 0xc0) == 0x80)
      ++back;
    if (!is_white_space(decode_utf8(text, text.size() - back).code)) break;
    text.remove_suffix(back);
  }
  return std::string(text);
}

std::string collapse_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// BERT: drops control characters, makes every white space a space, sets Chinese characters apart, strips accents,
// lower-cases, each where asked for and in this order.
std::string bert(std::string_view text, const NormalizerStep& step) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    const std::string_view spelled = text.substr(at, c.length);
    at += c.length;
    const bool plain_space = c.code == '\t' || c.code == '\n' || c.code == '\r';
    if (step.clean_text) {
      if (c.code == 0 || c.code == 0xfffd || (!plain_space && is_control_or_format(c.code))) continue;
      if (is_white_space(c.code)) {
        out += ' ';
        continue;
      }
    }
    if (step.handle_chinese_chars && is_cjk(c.code)) {
      out += ' ';
      out.append(spelled);
      out += ' ';
    } else {
      out.append(spelled);
    }
  }
  if (step.strip_accents) out = strip_marks(normalize(out, NormalForm::kNfd));
  if (step.lowercase) out = to_lower(out);
  return out;
}

}  // namespace

struct Normalizer::Step {
  NormalizerStep spec;
  std::optional<Regex> regex;
  std::optional<Charsmap> charsmap;

  std::string apply(std::string_view text, const Bound& bound) const {
    switch (spec.type) {
      case Type::kNfc:
        return on_valid(text, [](std::string_view t) { return normalize(t, NormalForm::kNfc); });
      case Type::kNfd:
        return on_valid(text, [](std::string_view t) { return normalize(t, NormalForm::kNfd); });
      case Type::kNfkc:
        return on_valid(text, [](std::string_view t) { return normalize(t, NormalForm::kNfkc); });
      case Type::kNfkd:
        return on_valid(text, [](std::string_view t) { return normalize(t, NormalForm::kNfkd); });
      case Type::kLowercase:
        return to_lower(text);
      case Type::kStripAccents:
        return strip_marks(text);
      case Type::kReplace:
        if (!regex) return replace_literal(text, spec.pattern, spec.content, bound);
        return on_valid(text, [&](std::string_view t) { return replace_regex(t, *regex, spec.content, bound); });
      case Type::kPrepend:
        bound.check(text.size() + spec.content.size());
        return text.empty() ? std::string() : spec.content + std::string(text);
      case Type::kStrip:
        return strip_space(text, spec.left, spec.right);
      case Type::kCollapseSpaces:
        return collapse_spaces(text);
      case Type::kPrecompiled: {
        const auto check = [&](std::size_t bytes) { bound.check(bytes); };
        return spec.by_grapheme ? charsmap->apply_by_grapheme(text, check) : charsmap->apply(text, check);
      }
      case Type::kBert:
        return on_valid(text, [&](std::string_view t) { return bert(t, spec); });
      case Type::kByteLevel:
        return bytes_to_alphabet(text);
    }
    return std::string(text);
  }
};

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps, std::string_view where) : where_(where) {
  for (const NormalizerStep& step : steps) {
    Step compiled{step, {}, {}};
    if (step.type == Type::kReplace && step.regex) compiled.regex.emplace(step.pattern, where);
    if (step.type == Type::kPrecompiled) compiled.charsmap.emplace(step.content, where);
    steps_.push_back(std::move(compiled));
  }
}

Normalizer::~Normalizer() = default;
Normalizer::Normalizer(Normalizer&&) noexcept = default;

std::string Normalizer::apply(std::string_view text) const {
  if (steps_.empty()) return std::string(text);
  const Bound bound(text.size(), where_);
  std::string result = steps_.front().apply(text, bound);
  for (std::size_t i = 1; i < steps_.size(); ++i) {
    bound.check(result.size());
    result = steps_[i].apply(result, bound);
  }
  return result;
}

}  // namespace lathe::text
