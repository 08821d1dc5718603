#include "engine/constraint.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/token_masks.h"

namespace lathe::engine {
namespace {

constexpr std::size_t kKeptGrammars = 8;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

class Constraint final : public LogitsProcessor {
 public:
  Constraint(std::shared_ptr<text::grammar::TokenMasks> masks, bool ignore_ends)
      : masks_(std::move(masks)), matcher_(masks_), ignore_ends_(ignore_ends) {}

  void process(std::span<float> logits, std::span<const text::TokenId>) override {
    const auto allowed = matcher_.allowed().words();
    bool any = false;
    for (std::size_t begin = 0; begin < logits.size(); begin += 64) {
      const std::uint64_t word = begin / 64 < allowed.size() ? allowed[begin / 64] : 0;
      const std::size_t end = std::min(begin + 64, logits.size());
      if (word == 0) {
        std::fill(logits.begin() + static_cast<std::ptrdiff_t>(begin),
                  logits.begin() + static_cast<std::ptrdiff_t>(end), kForbidden);
        continue;
      }
      any = true;
      for (std::size_t i = begin; i < end; ++i) {
        if ((word >> (i - begin) & 1) == 0) logits[i] = kForbidden;
      }
    }
    if (ignore_ends_) {
      for (const text::TokenId id : masks_->vocabulary().end_of_generation()) {
        if (static_cast<std::size_t>(id) < logits.size()) logits[static_cast<std::size_t>(id)] = kForbidden;
      }
      any = any && std::any_of(logits.begin(), logits.end(), [](float logit) { return logit != kForbidden; });
    }
    if (!any) {
      throw Error("no token of the vocabulary may follow the text so far", "grammar",
                  matcher_.complete() ? "the text is complete, but no end token may be generated"
                                      : "the vocabulary cannot spell what the grammar asks for");
    }
  }

  void accept(text::TokenId id) override {
    if (!matcher_.accept(id)) fail("grammar", "token {} was chosen although the grammar forbids it", id);
  }

  Place place() override { return matcher_.place(); }
  void go_to(Place place) override { matcher_.go_to(place); }
  void drop_places() override { matcher_.drop_places(); }

  // Text that was generated before the grammar took over; false when it is none of the grammar's.
  bool accept_bytes(std::string_view bytes) { return matcher_.accept_bytes(bytes); }

  bool finished() const override { return matcher_.ended() || (matcher_.complete() && matcher_.exhausted()); }

 private:
  std::shared_ptr<text::grammar::TokenMasks> masks_;
  text::grammar::Matcher matcher_;
  bool ignore_ends_;
};

// Anything goes until a text was generated; from there on a constraint holds.
class Triggered final : public LogitsProcessor {
 public:
  Triggered(std::unique_ptr<Constraint> constraint, const api::GrammarFrame& frame,
            std::shared_ptr<const text::Tokenizer> tokenizer)
      : constraint_(std::move(constraint)),
        trigger_(frame.trigger),
        counts_(frame.trigger_counts),
        tokenizer_(std::move(tokenizer)) {}

  void process(std::span<float> logits, std::span<const text::TokenId> history) override {
    if (holds_) constraint_->process(logits, history);
  }

  void accept(text::TokenId id) override {
    if (holds_) return constraint_->accept(id);
    text_ += tokenizer_->token_bytes(id);
    const std::size_t at = text_.find(trigger_);
    if (at != std::string::npos) {
      // A token that runs past the trigger with something else than the grammar's was no beginning of it.
      holds_ = constraint_->accept_bytes(std::string_view(text_).substr(at + (counts_ ? 0 : trigger_.size())));
      text_.clear();
    } else if (text_.size() >= trigger_.size()) {
      text_.erase(0, text_.size() - (trigger_.size() - 1));
    }
  }

  Place place() override {
    places_.push_back({text_, holds_, constraint_->place()});
    return places_.size() - 1;
  }
  void go_to(Place place) override {
    const Saved& saved = places_.at(place);
    text_ = saved.text;
    holds_ = saved.holds;
    constraint_->go_to(saved.inner);
  }
  void drop_places() override {
    places_.clear();
    constraint_->drop_places();
  }

  bool holds() const override { return holds_; }
  bool finished() const override { return holds_ && constraint_->finished(); }

 private:
  struct Saved {
    std::string text;
    bool holds;
    Place inner;
  };

  std::unique_ptr<Constraint> constraint_;
  std::vector<Saved> places_;
  std::string trigger_, text_;  // text_: the last bytes, which may begin the trigger
  bool counts_, holds_ = false;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
};

text::grammar::Grammar framed(text::grammar::Grammar grammar, const api::GrammarFrame& frame) {
  using namespace text::grammar;
  if (frame.begin.empty() && frame.between.empty() && frame.end.empty() && !frame.repeats) return grammar;
  const auto value = [&] { return rule_reference(grammar.root); };
  std::vector<Expression> items{literal(frame.begin), value()};
  if (frame.repeats) items.push_back(repeat(sequence({literal(frame.between), value()}), 0, kUnbounded));
  items.push_back(literal(frame.end));
  grammar.root = grammar.add("frame", "frame", sequence(std::move(items)));
  return grammar;
}

}  // namespace

std::unique_ptr<LogitsProcessor> Constraints::processor_for(const api::GenerateRequest& request) {
  if (request.grammar.empty() && request.json_schema.empty()) return nullptr;
  if (!request.grammar.empty() && !request.json_schema.empty())
    throw UsageError("a request has both a grammar and a JSON schema", "request", "give one of them");
  auto constraint = std::make_unique<Constraint>(masks_for(request), request.ignore_eos);
  if (request.frame.trigger.empty()) return constraint;
  return std::make_unique<Triggered>(std::move(constraint), request.frame, tokenizer_);
}

std::shared_ptr<text::grammar::TokenMasks> Constraints::masks_for(const api::GenerateRequest& request) {
  const bool is_schema = request.grammar.empty();
  const std::string& text = is_schema ? request.json_schema : request.grammar;
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(recent_.begin(), recent_.end(), [&](const Entry& entry) {
    return entry.is_schema == is_schema && entry.text == text && entry.frame == request.frame;
  });
  if (known != recent_.end()) {
    std::rotate(recent_.begin(), known, known + 1);
    return recent_.front().masks;
  }
  if (tokenizer_ == nullptr)
    throw Error("a grammar needs a tokenizer, and the model has none", "request", "give one with --tokenizer");
  const auto automaton = std::make_shared<text::grammar::Automaton>(framed(
      is_schema ? text::grammar::grammar_from_json_schema(text) : text::grammar::parse_gbnf(text), request.frame));
  if (vocabulary_ == nullptr) vocabulary_ = std::make_shared<text::grammar::Vocabulary>(*tokenizer_);
  recent_.push_front(
      {is_schema, text, request.frame, std::make_shared<text::grammar::TokenMasks>(automaton, vocabulary_)});
  if (recent_.size() > kKeptGrammars) recent_.pop_back();
  return recent_.front().masks;
}

}  // namespace lathe::engine
