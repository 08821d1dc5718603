#include "formats/tokenizer_json_document.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxNesting = 64;

// Receives the events of the JSON parser. `stack_` holds the containers being filled in `rest`; while the parser is
// inside model.vocab or model.merges the events go to the lists instead.
class Handler final : public nlohmann::json_sax<json> {
 public:
  Handler(TokenizerDocument& document, std::string_view text, std::string_view name)
      : document_(document), text_(text), name_(name) {}

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return number(value, static_cast<double>(value), value); }
  bool number_unsigned(number_unsigned_t value) override {
    const auto id = value > static_cast<number_unsigned_t>(INT64_MAX) ? INT64_MAX : static_cast<std::int64_t>(value);
    return number(value, static_cast<double>(value), id);
  }
  bool number_float(number_float_t value, const string_t&) override { return number(value, value, -1); }
  bool string(string_t& value) override {
    if (part_ == Part::kRest) return scalar(std::move(value));
    if (part_ == Part::kVocab) {
      if (!document_.vocab_is_array || depth_ != 2 || filled_ != 0) bad_vocab();
      piece_ = std::move(value);
      filled_ = 1;
      return true;
    }
    if (depth_ == 1) {  // "left right"
      const std::size_t space = value.find(' ', 1);
      if (value.empty() || space == std::string::npos)
        fail(name_, "merge {} is not two pieces: {}", document_.merges.size(), text::quoted(value));
      document_.merges.emplace_back(value.substr(0, space), value.substr(space + 1));
      return true;
    }
    if (depth_ != 2 || filled_ > 1) bad_merges();
    if (filled_++ == 0) {
      piece_ = std::move(value);
    } else {
      document_.merges.emplace_back(std::move(piece_), std::move(value));
    }
    return true;
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    if (part_ == Part::kRest && at_model() && key_ == "vocab") {
      enter(Part::kVocab);
      return true;
    }
    if (part_ == Part::kVocab) bad_vocab();
    if (part_ == Part::kMerges) bad_merges();
    return open(json::object());
  }
  bool start_array(std::size_t) override {
    if (part_ == Part::kRest && at_model() && key_ == "vocab") {
      enter(Part::kVocab);
      document_.vocab_is_array = true;
      return true;
    }
    if (part_ == Part::kRest && at_model() && key_ == "merges") {
      enter(Part::kMerges);
      return true;
    }
    if (part_ == Part::kRest) return open(json::array());
    if (part_ == Part::kVocab && (!document_.vocab_is_array || depth_ != 1)) bad_vocab();
    if (part_ == Part::kMerges && depth_ != 1) bad_merges();
    ++depth_;
    filled_ = 0;
    return true;
  }
  bool key(string_t& value) override {
    if (part_ == Part::kVocab) {
      piece_ = std::move(value);
    } else {
      key_ = std::move(value);
    }
    return true;
  }
  bool end_object() override { return end(); }
  bool end_array() override {
    if (part_ != Part::kRest && depth_ == 2 && filled_ != 2) part_ == Part::kVocab ? bad_vocab() : bad_merges();
    return end();
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    const std::string_view before = text_.substr(0, std::min(position > 0 ? position - 1 : 0, text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t last = before.rfind('\n');
    fail(name_, "invalid JSON at line {}, column {}", line,
         1 + before.size() - (last == std::string_view::npos ? 0 : last + 1));
  }

 private:
  enum class Part { kRest, kVocab, kMerges };

  [[noreturn]] void bad_vocab() const {
    fail(name_, "model.vocab is neither an object of ids nor a list of [piece, score]");
  }
  [[noreturn]] void bad_merges() const { fail(name_, "model.merges is not a list of pairs of pieces"); }

  bool at_model() const { return stack_.size() == 2 && in_model_; }
  void enter(Part part) {
    if (part == Part::kVocab && !document_.pieces.empty()) fail(name_, "model.vocab is there twice");
    part_ = part;
    depth_ = 1;
  }
  bool end() {
    if (part_ == Part::kRest) {
      stack_.pop_back();
      in_model_ = in_model_ && stack_.size() >= 2;
    } else if (--depth_ == 0) {
      part_ = Part::kRest;
    }
    return true;
  }

  template <class T>
  bool number(T value, double score, std::int64_t id) {
    if (part_ == Part::kRest) return scalar(value);
    if (part_ == Part::kMerges) bad_merges();
    if (document_.vocab_is_array) {
      if (depth_ != 2 || filled_ != 1) bad_vocab();
      filled_ = 2;
      document_.pieces.push_back(std::move(piece_));
      document_.scores.push_back(score);
    } else {
      if (id < 0) bad_vocab();
      document_.pieces.push_back(std::move(piece_));
      document_.ids.push_back(id);
    }
    return true;
  }
  template <class T>
  bool scalar(T&& value) {
    if (part_ == Part::kVocab) bad_vocab();
    if (part_ == Part::kMerges) bad_merges();
    *place() = std::forward<T>(value);
    return true;
  }
  bool open(json container) {
    if (stack_.size() >= kMaxNesting) fail(name_, "JSON is nested deeper than {} levels", kMaxNesting);
    const bool model = stack_.size() == 1 && key_ == "model" && stack_[0]->is_object();
    json* slot = place();
    *slot = std::move(container);
    stack_.push_back(slot);
    in_model_ = in_model_ || model;
    return true;
  }
  json* place() {
    if (stack_.empty()) return &document_.rest;
    json& parent = *stack_.back();
    if (parent.is_object()) return &parent[key_];
    parent.push_back(nullptr);
    return &parent.back();
  }

  TokenizerDocument& document_;
  std::string_view text_, name_;
  std::vector<json*> stack_;
  std::string key_, piece_;
  Part part_ = Part::kRest;
  bool in_model_ = false;
  int depth_ = 0, filled_ = 0;
};

}  // namespace

TokenizerDocument parse_tokenizer_document(std::string_view text, std::string_view name) {
  TokenizerDocument document;
  Handler handler(document, text, name);
  try {
    if (!json::sax_parse(text.begin(), text.end(), &handler)) fail(name, "invalid JSON");
  } catch (const json::exception&) {
    fail(name, "invalid JSON (a number or a string that cannot be represented)");
  }
  if (!document.rest.is_object()) fail(name, "not a tokenizer: the JSON is not an object");
  return document;
}

}  // namespace lathe::formats
