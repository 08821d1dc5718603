// What a sequence remembers between forward passes, as the executor sees it. cache/ implements it with paged blocks;
// who owns the blocks, which of them a query attends to and where they live is the implementation's business.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace lathe::model {

// Whether keys are cached after RoPE, or before it, to be rotated by the position they are attended at (InfLLM).
enum class KeyStorage : std::uint8_t { kRotated, kRaw };

class SequenceState {
 public:
  virtual ~SequenceState() = default;

  // Tokens stored, which is also the position of the next one.
  virtual std::int64_t length() const = 0;
  virtual const kernels::KvLayout& layout() const = 0;
  virtual KeyStorage key_storage() const { return KeyStorage::kRotated; }

  // Makes room for `count` more tokens, or throws Error and leaves everything as it was. Room that was made for tokens
  // never committed is used again.
  virtual void reserve(kernels::Stream& stream, std::uint64_t count) = 0;
  // Stores rows of k and v at positions length(), length() + 1, ... of `layer`; the room was reserved.
  virtual void append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                      kernels::DeviceTensor v) = 0;
  // The runs that `count` queries at positions length() ... may attend to, rows just appended included. Valid until the
  // next call of a non-const function.
  virtual std::span<const kernels::KvRun> segments(std::uint32_t layer, std::uint64_t count) = 0;
  // Where the attention mass each slot of segments() receives should be added up; nullptr when nobody looks.
  virtual float* mass(std::uint32_t layer) {
    (void)layer;
    return nullptr;
  }
  // After the last layer: the appended tokens count from now on.
  virtual void commit(std::uint64_t count) = 0;
};

// What an encoder has left of a source text for the layers of the decoder. It never changes, so any number of sequences
// may read it.
class SourceState {
 public:
  virtual ~SourceState() = default;
  virtual const kernels::KvLayout& layout() const = 0;
  // All of the text's tokens; valid as long as the state.
  virtual std::span<const kernels::KvRun> segments(std::uint32_t layer) const = 0;
};

}  // namespace lathe::model
