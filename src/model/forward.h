// One forward pass: rows of several sequences through the op list. Lathe's only loop over layers on the native side.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "model/adapter.h"
#include "model/hooks.h"
#include "model/model.h"
#include "model/sequence_state.h"

namespace lathe::model {

// Input is segments: token ids, or vectors of the residual width with a hash of what they came from.
struct Segment {
  std::span<const std::int32_t> tokens;  // one row per id, or
  std::span<const float> embeddings;     // rows * width, row-major
  std::uint64_t content_hash = 0;        // of what the embeddings show; prefix sharing compares it
  bool bidirectional = false;            // the segment's rows see each other in full (an image); first of its pass
  std::uint64_t rows(std::uint64_t width) const { return tokens.empty() ? embeddings.size() / width : tokens.size(); }
};

enum class Want : std::uint8_t { kNothing, kLast, kAll };

// One sequence's share of a pass.
struct SequenceInput {
  SequenceState* state = nullptr;  // reserve()d by the pass; commit()ted at its end; one sequence's only
  std::span<const Segment> segments;
  Want want = Want::kLast;                        // for which of its rows the sink is called
  std::span<const Adapter* const> adapters = {};  // applied to all its rows, in this order
  const SourceState* source = nullptr;            // what the sequence translates; decoders behind an encoder only
};

struct ForwardOptions {
  bool hidden_only = false;  // the sink gets the hidden state after the final norm instead of logits
  // Layers [first, last) only; a pass that does not start at layer 0 takes hidden states as embedding segments, and one
  // that does not reach the last layer hands the raw residual stream to the sink.
  std::uint32_t first_layer = 0;
  std::uint32_t last_layer = UINT32_MAX;
  // False: the tokens do not count yet, and the next pass runs at the same positions (the remaining layers, say).
  bool commit = true;
  ForwardHooks* hooks = nullptr;
};

// Called for every wanted row in order of (sequence, row): vocab_size logits, or width hidden values. Valid during the
// call.
using RowSink = FunctionRef<void(std::size_t sequence, std::uint64_t row, std::span<const float> values)>;

// Throws Error unless distant tokens can be given another distance (SequenceState::far_distance): all of the model's
// positions have to come from RoPE, on the very queries and keys of attention, and no layer may have a window.
void require_far_distances(const arch::OpList& list);

// Stream and workspace for passes of up to max_rows rows; one thread at a time.
class ForwardContext {
 public:
  // `context` is the longest sequence (dynamic RoPE scalings depend on it; learned positions must cover it).
  ForwardContext(std::shared_ptr<const Model> model, std::uint32_t max_rows, std::uint32_t context);

  // Throws Error before touching any state when an input is impossible (ids out of range, too many rows or positions).
  void forward(std::span<const SequenceInput> inputs, const ForwardOptions& options, RowSink sink);

  const Model& model() const { return *model_; }
  std::uint32_t max_rows() const { return max_rows_; }
  kernels::Stream& stream() { return *stream_; }

 private:
  struct Rows;  // the pass at hand: positions, ids, which rows are wanted
  void check(std::span<const SequenceInput> inputs, const ForwardOptions& options) const;
  Rows collect(std::span<const SequenceInput> inputs, const ForwardOptions& options) const;
  kernels::DeviceTensor slot(int index, std::uint64_t rows) const;
  void load_inputs(const Rows& rows, std::span<const SequenceInput> inputs, bool embed_tokens);
  void run(const PreparedOp& prepared, const Rows& rows, std::span<const SequenceInput> inputs, std::uint64_t count,
           ForwardHooks* hooks);
  void rotate(const arch::Op& op, std::uint64_t count);
  void prepare_far();
  kernels::DeviceTensor raw(int slot, std::uint64_t rows) const;
  kernels::DeviceTensor look_far(const arch::Op& op, const Rows& rows, std::span<const SequenceInput> inputs);
  void linear(const PreparedOp& prepared, const Rows& rows, std::uint64_t count, ForwardHooks* hooks);
  void grouped_linear(const PreparedOp& prepared, std::uint64_t count, ForwardHooks* hooks);
  void route(const PreparedOp& prepared, std::uint64_t count, ForwardHooks* hooks);
  void adapters(const PreparedOp& prepared, const Rows& rows, std::uint64_t count);
  void attention(const PreparedOp& prepared, const Rows& rows, std::span<const SequenceInput> inputs);
  void store(const arch::Op& op, const Rows& rows, std::span<const SequenceInput> inputs);
  void emit(const Rows& rows, const ForwardOptions& options, std::size_t first_head_op, bool reached_end, RowSink sink);

  std::shared_ptr<const Model> model_;
  kernels::Backend& backend_;
  std::unique_ptr<kernels::Stream> stream_;
  std::uint32_t max_rows_, context_;
  std::vector<kernels::DeviceBuffer> buffers_;  // by slot; views have none
  kernels::DeviceBuffer ids_, positions_, alibi_slopes_;
  kernels::DeviceBuffer types_;  // i32 zeros: every token is of the first kind of segment
  struct Rotation {
    kernels::DeviceBuffer inv_freq, table;
    std::uint64_t n_freq = 0;
    float mscale = 1;
  };
  std::vector<Rotation> rotations_;  // by OpList::ropes
  // Queries and keys from before RoPE, for states that look far: by slot, made when the first such state comes.
  struct Raw {
    kernels::DeviceBuffer rows;
    const arch::Op* rope;  // what rotates the slot
  };
  std::map<int, Raw> raw_;
  kernels::DeviceBuffer far_position_, far_table_;  // one row, as Rotation::table
  std::vector<float> host_row_;
};

}  // namespace lathe::model
