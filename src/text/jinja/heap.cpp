#include "text/jinja/heap.h"

#include <fmt/core.h>

#include <algorithm>

namespace lathe::jinja {

void Heap::too_many_steps() const {
  throw EvalError{fmt::format("the template does not come to an end within {} steps", limits_.steps)};
}

void Heap::check_text(std::uint64_t bytes) const {
  if (bytes > limits_.output_bytes) {
    throw EvalError{fmt::format("a text grows beyond {} bytes", limits_.output_bytes)};
  }
}

void Heap::charge(std::size_t bytes) {
  if (bytes > limits_.live_bytes - live_) {
    throw EvalError{fmt::format("the template needs more than {} bytes of memory", limits_.live_bytes)};
  }
  live_ += bytes;
}

Heap::~Heap() {
  for (Object* o = first_; o != nullptr; o = o->next_) o->retain();
  for (Object* o = first_; o != nullptr; o = o->next_) o->drop_references();
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): destroy() moves first_ on
  while (first_ != nullptr) first_->release();
}

Object::Object(Heap& heap, std::size_t bytes) : heap_(heap), bytes_(bytes + sizeof(Object)) {
  heap.charge(bytes_);
  next_ = heap.first_;
  if (next_ != nullptr) next_->previous_ = this;
  heap.first_ = this;
}

Object::~Object() {
  (previous_ != nullptr ? previous_->next_ : heap_.first_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  heap_.release(bytes_);
}

void Object::grow(std::size_t bytes) {
  heap_.charge(bytes);
  bytes_ += bytes;
}

// A list in a list in a list ... would destroy itself recursively; the outermost call works through the pile instead.
void Object::destroy(Object* object) {
  thread_local Object* pile = nullptr;
  thread_local bool working = false;
  // Off the heap's list, so that next_ can link the pile.
  (object->previous_ != nullptr ? object->previous_->next_ : object->heap_.first_) = object->next_;
  if (object->next_ != nullptr) object->next_->previous_ = object->previous_;
  object->previous_ = nullptr;
  object->next_ = pile;
  pile = object;
  if (working) return;
  working = true;
  while (pile != nullptr) {
    Object* const doomed = pile;
    pile = doomed->next_;
    // Back onto the heap's list, where the destructor takes it off.
    doomed->next_ = doomed->heap_.first_;
    if (doomed->next_ != nullptr) doomed->next_->previous_ = doomed;
    doomed->heap_.first_ = doomed;
    delete doomed;
  }
  working = false;
}

void TextBuilder::reserve(std::size_t more) {
  const std::uint64_t needed = std::uint64_t{text_.size()} + more;
  heap_.check_text(needed);
  const auto target = static_cast<std::size_t>(std::min<std::uint64_t>(
      std::max<std::uint64_t>(needed, 2 * std::uint64_t{charged_}), heap_.limits().output_bytes));
  heap_.charge(target - charged_);
  heap_.step_bytes(target - charged_);
  charged_ = target;
}

}  // namespace lathe::jinja
