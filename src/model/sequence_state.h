// What a sequence remembers between forward passes, as the executor sees it. cache/ implements it with paged blocks;
// who owns the blocks, which of them a query attends to and where they live is the implementation's business.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace lathe::model {

class SequenceState {
 public:
  virtual ~SequenceState() = default;

  // Tokens stored, which is also the position of the next one.
  virtual std::int64_t length() const = 0;
  virtual const kernels::KvLayout& layout() const = 0;

  // Makes room for `count` more tokens, or throws Error and leaves everything as it was. Room that was made for tokens
  // never committed is used again.
  virtual void reserve(kernels::Stream& stream, std::uint64_t count) = 0;
  // Stores rows of k and v at positions length(), length() + 1, ... of `layer`; the room was reserved.
  virtual void append(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                      kernels::DeviceTensor v) = 0;
  // The runs that `count` queries at positions length() ... may attend to, rows just appended included. Valid until the
  // next call of a non-const function.
  virtual std::span<const kernels::KvRun> segments(std::uint32_t layer, std::uint64_t count) = 0;
  // Where the attention mass that the slots of segments() receive is added up (AttentionSequence::mass).
  struct Mass {
    float* data = nullptr;  // nullptr when nobody looks
    std::uint64_t stride = 0;
  };
  virtual Mass mass(std::uint32_t layer) {
    (void)layer;
    return {};
  }

  // > 0: distant tokens are attended to as if they were this far away, by their keys from before RoPE (InfLLM, Xiao et
  // al. 2024). Then every layer calls, between append() and segments():
  virtual std::int64_t far_distance() const { return 0; }
  // with the rows of k before RoPE, and v once more;
  virtual void append_raw(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor k,
                          kernels::DeviceTensor v) {
    (void)stream, (void)layer, (void)k, (void)v;
  }
  // with the rows of q rotated to far_distance(), by which the state chooses what they are shown.
  virtual void choose(kernels::Stream& stream, std::uint32_t layer, kernels::DeviceTensor far_q) {
    (void)stream, (void)layer, (void)far_q;
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
