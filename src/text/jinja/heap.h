// The memory and the patience a rendering may use. Every string, list and dictionary that a template makes belongs to
// a Heap, which counts live bytes and executed steps and refuses more than its limits; so a hostile template ends in
// an error message and not in a dead process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace lathe::jinja {

struct Limits {
  std::uint64_t steps = 20'000'000;                  // evaluated nodes, plus one per 128 bytes of text handled
  std::size_t output_bytes = std::size_t{32} << 20;  // one text: the output, or any one string
  std::size_t live_bytes = std::size_t{64} << 20;    // everything alive at one time
  std::size_t range_items = 100'000;                 // range(); the figure Jinja's sandbox uses
  int depth = 600;                                   // nested evaluation: expressions, blocks, macro calls
};

// What went wrong, without a place; the interpreter adds template, line and column.
struct EvalError {
  std::string message;
};

// How deep lists and dictionaries may be nested where something walks through them (printing, comparing, JSON).
inline constexpr int kMaxDataDepth = 256;

class Object;

// Used by one thread at a time. Objects of a parsed template's constants live on a heap of their own, to which
// renderings never add.
class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  ~Heap();  // frees what is still alive, which can only be cycles (a list appended to itself)
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  const Limits& limits() const { return limits_; }

  void step(std::uint64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.steps) too_many_steps();
  }
  // Accounts for work on `bytes` of text.
  void step_bytes(std::uint64_t bytes) { step(bytes / 128); }

  // Throws when a text of `bytes` is more than the limits allow.
  void check_text(std::uint64_t bytes) const;
  void charge(std::size_t bytes);
  void release(std::size_t bytes) { live_ -= bytes; }

 private:
  friend class Object;
  [[noreturn]] void too_many_steps() const;

  Limits limits_;
  std::uint64_t steps_ = 0;
  std::size_t live_ = 0;
  Object* first_ = nullptr;  // every object alive
};

// Anything with a reference count. References may be taken and dropped by several threads (constants of a template
// that renders concurrently); everything else about an object belongs to its heap's thread.
class Object {
 public:
  Object(Heap& heap, std::size_t bytes);
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy(this);
  }
  bool unique() const { return references_.load(std::memory_order_acquire) == 1; }
  Heap& heap() const { return heap_; }

 protected:
  // Accounts for `bytes` more that this object holds.
  void grow(std::size_t bytes);

 private:
  friend class Heap;
  virtual void drop_references() {}  // forgets the objects it refers to
  static void destroy(Object* object);

  std::atomic<std::uint32_t> references_{1};
  Heap& heap_;
  std::size_t bytes_;
  Object* previous_ = nullptr;
  Object* next_ = nullptr;
};

// One reference to an object.
template <class T>
class Ref {
 public:
  Ref() = default;
  // Takes over the reference that `object` was made with.
  static Ref adopt(T* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  Ref(const Ref& other) : object_(other.object_) {
    if (object_ != nullptr) object_->retain();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

// A text under construction, held to the limits while it grows.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap) : heap_(heap) {}
  ~TextBuilder() { heap_.release(charged_); }
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;

  void append(std::string_view text) {
    if (text_.size() + text.size() > charged_) reserve(text.size());
    text_.append(text);
  }
  void append(char c) { append(std::string_view(&c, 1)); }
  void append(std::size_t count, char c) {
    if (count > charged_ - text_.size()) reserve(count);
    text_.append(count, c);
  }
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void reserve(std::size_t more);
  Heap& heap_;
  std::string text_;
  std::size_t charged_ = 0;
};

}  // namespace lathe::jinja
