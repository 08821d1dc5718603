#include "model/forward.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "arch/alibi.h"
#include "arch/rope.h"
#include "base/error.h"

namespace lathe::model {
namespace {

using arch::Op;
using arch::OpKind;
using kernels::DeviceTensor;

// Rows of logits computed at once: a vocabulary of 128k is 128 kB a row, so the head is tiled.
constexpr std::uint64_t kHeadRows = 32;

// The operation that rotates a slot as it is; nullptr when there is none.
const Op* rope_of(const arch::OpList& list, int slot) {
  const auto it = std::find_if(list.ops.begin(), list.ops.end(),
                               [&](const Op& op) { return op.kind == OpKind::kRope && op.out == slot; });
  return it == list.ops.end() ? nullptr : &*it;
}

}  // namespace

void require_far_distances(const arch::OpList& list) {
  for (const Op& op : list.ops) {
    const bool kept =
        op.kind == OpKind::kAttention &&
        (!op.attention.causal || op.attention.window > 0 || op.attention.alibi || op.attention.relative.buckets > 0 ||
         rope_of(list, op.in) == nullptr || rope_of(list, op.k) == nullptr);
    if (kept || op.kind == OpKind::kPositionEmbed || op.kind == OpKind::kCrossAttention) {
      throw Error("a context memory needs a decoder whose positions are all RoPE's, without layers of a sliding window",
                  "KV policy", "use --kv-policy full or sinks");
    }
  }
}

// A pass's rows: the rows of all sequences one after another.
struct ForwardContext::Rows {
  struct Range {
    std::uint64_t begin = 0, count = 0;
    std::uint64_t bidirectional = 0;
  };
  std::vector<Range> ranges;  // by sequence
  std::vector<std::int32_t> ids, positions;
  std::vector<std::uint32_t> wanted;         // row indices
  std::vector<std::size_t> wanted_sequence;  // whose
  // The rows each adapter applies to, by op-list rows (before row selection). `turn` is its place among the adapters of
  // a sequence: all of one turn go before those of the next, so that the order in which adapters add to a row is that
  // of its own sequence, whatever the others use.
  struct Adapted {
    std::size_t turn;
    const Adapter* adapter;
    std::vector<std::uint32_t> rows;
  };
  std::vector<Adapted> adapted;
  std::uint64_t total() const { return ids.size(); }
};

ForwardContext::ForwardContext(std::shared_ptr<const Model> model, std::uint32_t max_rows, std::uint32_t context)
    : model_(std::move(model)),
      backend_(model_->backend()),
      stream_(backend_.make_stream()),
      max_rows_(max_rows),
      context_(context) {
  const arch::Architecture& a = model_->architecture();
  const arch::OpList& list = model_->op_list();
  if (max_rows == 0) fail("forward", "a pass needs room for at least one row");
  if (a.positions_end() && context > a.context_length) {
    fail(a.family, "context {} exceeds the model's {} positions", context, a.context_length);
  }
  for (std::size_t i = 0; i < list.slots.size(); ++i) {
    const arch::Slot& slot = list.slots[i];
    const bool head = static_cast<int>(i) == list.logits;
    const std::uint64_t rows = head ? std::min<std::uint64_t>(kHeadRows, max_rows) : max_rows;
    buffers_.push_back(slot.parent == arch::kNoSlot ? backend_.allocate(rows * slot.width * sizeof(float))
                                                    : kernels::DeviceBuffer{});
  }
  ids_ = backend_.allocate(max_rows * sizeof(std::int32_t));
  positions_ = backend_.allocate(max_rows * sizeof(std::int32_t));
  if (a.token_types > 0) types_ = backend_.allocate(max_rows * sizeof(std::int32_t));
  for (const arch::RopeRule& rule : list.ropes) {
    const arch::RopeFrequencies frequencies = arch::rope_frequencies(rule, context);
    Rotation rotation;
    rotation.n_freq = frequencies.inv_freq.size();
    rotation.mscale = frequencies.mscale;
    rotation.inv_freq = backend_.upload_floats(*stream_, frequencies.inv_freq);
    rotation.table = backend_.allocate(max_rows * 2 * rotation.n_freq * sizeof(float));
    rotations_.push_back(std::move(rotation));
  }
  if (a.position == arch::PositionKind::kAlibi)
    alibi_slopes_ = backend_.upload_floats(*stream_, arch::alibi_slopes(a.n_heads));
}

DeviceTensor ForwardContext::slot(int index, std::uint64_t rows) const {
  const arch::Slot& slot = model_->op_list().slots[index];
  const DType dtype = slot.ids ? DType::kI32 : DType::kF32;
  if (slot.parent == arch::kNoSlot) return DeviceTensor::dense(buffers_[index].data(), rows, slot.width, dtype);
  const DeviceTensor parent = this->slot(slot.parent, rows);
  if (slot.heads == 1) return parent.slice_cols(slot.offset, slot.width);
  return DeviceTensor::dense(parent.data, rows * slot.heads, parent.cols / slot.heads)
      .slice_cols(slot.offset, slot.width);
}

// What concerns whole sequences; collect() looks at their rows.
void ForwardContext::check(std::span<const SequenceInput> inputs, const ForwardOptions& options) const {
  const arch::Architecture& a = model_->architecture();
  const std::uint32_t last = std::min(options.last_layer, a.n_layers);
  if (options.first_layer > last) fail("forward", "there are no layers {} to {}", options.first_layer, last);
  const ModelPart& part = model_->part();
  if (options.first_layer < part.first_layer || last > part.last_layer || (!part.head && !options.hidden_only)) {
    fail("forward", "only layers {} to {}{} are prepared", part.first_layer, part.last_layer,
         part.head ? "" : ", without the head,");
  }
  const kernels::KvLayout& layout = inputs.front().state->layout();
  for (const arch::StateGroup& group : model_->op_list().state) {
    if (layout.n_kv_heads != group.n_kv_heads || layout.k_dim != group.k_dim || layout.v_dim != group.v_dim) {
      fail("forward", "a state of {} heads of {} and {} does not fit a model of {} heads of {} and {}",
           layout.n_kv_heads, layout.k_dim, layout.v_dim, group.n_kv_heads, group.k_dim, group.v_dim);
    }
  }
  if (!a.output_head && !options.hidden_only && last == a.n_layers &&
      std::any_of(inputs.begin(), inputs.end(), [](const auto& input) { return input.want != Want::kNothing; })) {
    throw Error("has no output head: it turns texts into vectors and predicts no tokens", a.family, "use lathe embed");
  }
  std::vector<const SequenceState*> states;
  for (const SequenceInput& input : inputs) {
    if (!a.causal && input.state->length() > 0)
      fail("forward", "an encoder reads a text in one pass, since its tokens see those that follow");
    if (input.state->layout() != layout)
      fail("forward", "the sequences of a pass keep their state in different layouts");
    if (input.source == nullptr && a.encoder.n_layers > 0)
      fail("forward", "a decoder behind an encoder needs a source text");
    if (input.source != nullptr && a.encoder.n_layers == 0)
      fail("forward", "a model without an encoder has no use for a source text");
    if (input.source != nullptr && input.source->layout() != layout)
      fail("forward", "a source text is kept in another layout than the sequence");
    if (input.state->far_distance() > 0) require_far_distances(model_->op_list());
    states.push_back(input.state);
  }
  std::sort(states.begin(), states.end(), std::less<>());
  if (std::adjacent_find(states.begin(), states.end()) != states.end()) {
    fail("forward", "the same sequence appears twice in a pass");
  }
}

ForwardContext::Rows ForwardContext::collect(std::span<const SequenceInput> inputs,
                                             const ForwardOptions& options) const {
  const arch::Architecture& a = model_->architecture();
  check(inputs, options);
  Rows rows;
  for (std::size_t sequence = 0; sequence < inputs.size(); ++sequence) {
    const SequenceInput& input = inputs[sequence];
    Rows::Range range{rows.total(), 0, 0};
    for (const Segment& segment : input.segments) {
      if (!segment.tokens.empty() && options.first_layer > 0)
        fail("forward", "a pass from layer {} takes hidden states, not tokens", options.first_layer);
      if (segment.embeddings.size() % a.width != 0)
        fail("forward", "embeddings of {} floats are no rows of {}", segment.embeddings.size(), a.width);
      for (const std::int32_t id : segment.tokens) {
        if (id < 0 || static_cast<std::uint32_t>(id) >= a.vocab_size)
          fail("forward", "token id {} is outside the vocabulary of {}", id, a.vocab_size);
      }
      if (segment.tokens.empty()) {
        rows.ids.insert(rows.ids.end(), segment.rows(a.width), 0);
      } else {
        rows.ids.insert(rows.ids.end(), segment.tokens.begin(), segment.tokens.end());
      }
      if (segment.bidirectional) {
        if (range.begin + segment.rows(a.width) != rows.total())
          fail("forward", "a segment whose rows see each other must be the first of its pass");
        range.bidirectional = segment.rows(a.width);
      }
    }
    range.count = rows.total() - range.begin;
    if (range.count == 0) fail("forward", "a sequence without rows");
    const std::int64_t start = input.state->length();
    if (start + static_cast<std::int64_t>(range.count) > context_) {
      throw Error(fmt::format("{} tokens exceed the context of {}", start + range.count, context_), "forward",
                  "raise the context or shorten the prompt");
    }
    for (std::uint64_t i = 0; i < range.count; ++i) rows.positions.push_back(static_cast<std::int32_t>(start + i));
    const std::uint64_t first_wanted = input.want == Want::kAll    ? 0
                                       : input.want == Want::kLast ? range.count - 1
                                                                   : range.count;
    for (std::uint64_t i = first_wanted; i < range.count; ++i) {
      rows.wanted.push_back(static_cast<std::uint32_t>(range.begin + i));
      rows.wanted_sequence.push_back(sequence);
    }
    for (std::size_t turn = 0; turn < input.adapters.size(); ++turn) {
      const Adapter* adapter = input.adapters[turn];
      auto it = std::find_if(rows.adapted.begin(), rows.adapted.end(),
                             [&](const auto& entry) { return entry.turn == turn && entry.adapter == adapter; });
      if (it == rows.adapted.end()) it = rows.adapted.insert(it, {turn, adapter, {}});
      for (std::uint64_t i = 0; i < range.count; ++i) it->rows.push_back(static_cast<std::uint32_t>(range.begin + i));
    }
    rows.ranges.push_back(range);
  }
  std::stable_sort(rows.adapted.begin(), rows.adapted.end(),
                   [](const auto& x, const auto& y) { return x.turn < y.turn; });
  if (rows.total() > max_rows_) fail("forward", "{} rows in a pass of at most {}", rows.total(), max_rows_);
  return rows;
}

void ForwardContext::load_inputs(const Rows& rows, std::span<const SequenceInput> inputs, bool embed_tokens) {
  const std::uint64_t total = rows.total(), width = model_->architecture().width;
  backend_.upload(*stream_, positions_.data(), rows.positions.data(), total * sizeof(std::int32_t));
  for (const Rotation& rotation : rotations_) {
    backend_.rope_table(*stream_, DeviceTensor::dense(rotation.table.data(), total, 2 * rotation.n_freq),
                        static_cast<const std::int32_t*>(positions_.data()),
                        static_cast<const float*>(rotation.inv_freq.data()), rotation.n_freq, rotation.mscale);
  }
  const DeviceTensor residual = slot(model_->op_list().residual, total);
  if (embed_tokens) {
    backend_.upload(*stream_, ids_.data(), rows.ids.data(), total * sizeof(std::int32_t));
    const PreparedOp& embed = model_->ops().front();
    backend_.embed(*stream_, residual, *embed.table, static_cast<const std::int32_t*>(ids_.data()), embed.op->factor,
                   false);
  }
  // Given vectors replace what the placeholder ids of their rows looked up.
  for (std::size_t sequence = 0; sequence < inputs.size(); ++sequence) {
    std::uint64_t row = rows.ranges[sequence].begin;
    for (const Segment& segment : inputs[sequence].segments) {
      const std::uint64_t count = segment.rows(width);
      if (segment.tokens.empty()) {
        backend_.upload(*stream_, residual.slice_rows(row, count).data, segment.embeddings.data(),
                        segment.embeddings.size_bytes());
      }
      row += count;
    }
  }
}

void ForwardContext::forward(std::span<const SequenceInput> inputs, const ForwardOptions& options, RowSink sink) {
  if (inputs.empty()) return;
  const Rows rows = collect(inputs, options);
  if (raw_.empty() && std::any_of(inputs.begin(), inputs.end(),
                                  [](const SequenceInput& input) { return input.state->far_distance() > 0; }))
    prepare_far();
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].state->reserve(*stream_, rows.ranges[i].count);
  load_inputs(rows, inputs, options.first_layer == 0);

  const int last_layer = static_cast<int>(std::min(options.last_layer, model_->architecture().n_layers));
  const bool reaches_end = last_layer == static_cast<int>(model_->architecture().n_layers);
  const std::vector<PreparedOp>& ops = model_->ops();
  std::size_t index = 1;  // the token embedding is done
  for (bool more = true; index < ops.size() && ops[index].op->kind != OpKind::kSelectRows; ++index) {
    const Op& op = *ops[index].op;
    const bool in_range = op.layer < 0 ? options.first_layer == 0
                                       : op.layer >= static_cast<int>(options.first_layer) && op.layer < last_layer;
    if (!more || !in_range) continue;
    if (op.kind == OpKind::kLayerEnd) {
      if (options.hooks != nullptr)
        more = options.hooks->on_layer_output(op.layer, slot(op.out, rows.total()), backend_, *stream_);
      continue;
    }
    run(ops[index], rows, inputs, rows.total(), options.hooks);
  }
  emit(rows, options, index, reaches_end, sink);
  if (!options.commit) return;
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].state->commit(rows.ranges[i].count);
}

// The wanted rows, a tile at a time, through the final norm and the head.
void ForwardContext::emit(const Rows& rows, const ForwardOptions& options, std::size_t first_head_op, bool reached_end,
                          RowSink sink) {
  const arch::OpList& list = model_->op_list();
  const std::vector<PreparedOp>& ops = model_->ops();
  const Op& select = *ops[first_head_op].op;
  for (std::size_t begin = 0; begin < rows.wanted.size(); begin += kHeadRows) {
    const std::uint64_t count = std::min<std::uint64_t>({kHeadRows, rows.wanted.size() - begin, max_rows_});
    backend_.gather_rows(*stream_, slot(select.out, count), slot(select.in, rows.total()),
                         std::span(rows.wanted).subspan(begin, count));
    int result = select.out;
    if (reached_end) {
      for (std::size_t i = first_head_op + 1; i < ops.size(); ++i) {
        if (options.hidden_only && result == list.hidden) break;
        run(ops[i], rows, {}, count, options.hooks);
        result = ops[i].op->linears.empty() ? ops[i].op->out : ops[i].op->linears.back().out;
      }
    }
    const DeviceTensor out = slot(result, count);
    host_row_.resize(out.cols);
    for (std::uint64_t i = 0; i < count; ++i) {
      backend_.download(*stream_, host_row_.data(), out.slice_rows(i, 1).data, out.cols * sizeof(float));
      const std::size_t sequence = rows.wanted_sequence[begin + i];
      sink(sequence, rows.wanted[begin + i] - rows.ranges[sequence].begin, host_row_);
    }
  }
}

void ForwardContext::run(const PreparedOp& prepared, const Rows& rows, std::span<const SequenceInput> inputs,
                         std::uint64_t count, ForwardHooks* hooks) {
  const Op& op = *prepared.op;
  const bool timed = hooks != nullptr && hooks->wants_op_time();
  if (timed) backend_.synchronize(*stream_);
  const auto start = std::chrono::steady_clock::now();
  const auto in = [&] { return slot(op.in, count); };
  const auto out = [&] { return slot(op.out, count); };
  const auto weight = [&] { return static_cast<const float*>(prepared.weight.data()); };
  switch (op.kind) {
    case OpKind::kPositionEmbed:
      backend_.embed(*stream_, out(), *prepared.table, static_cast<const std::int32_t*>(positions_.data()), 1, true);
      break;
    case OpKind::kTypeEmbed:
      backend_.embed(*stream_, out(), *prepared.table, static_cast<const std::int32_t*>(types_.data()), 1, true);
      break;
    case OpKind::kNorm:
      backend_.norm(*stream_, op.norm, out(), in(), weight(), static_cast<const float*>(prepared.bias.data()),
                    op.norm_size, op.norm_eps);
      break;
    case OpKind::kLinear:
      linear(prepared, rows, count, hooks);
      break;
    case OpKind::kRope:
      rotate(op, count);
      break;
    case OpKind::kAttention:
    case OpKind::kCrossAttention:
      attention(prepared, rows, inputs);
      break;
    case OpKind::kStore:
      store(op, rows, inputs);
      break;
    case OpKind::kActivate:
      backend_.activate(*stream_, op.activation, out(), in());
      break;
    case OpKind::kGated:
      if (op.activation_limit > 0) {
        backend_.gated_clamped(*stream_, out(), in(), slot(op.in2, count), op.activation_limit);
      } else {
        backend_.gated(*stream_, op.activation, out(), in(), slot(op.in2, count));
      }
      break;
    case OpKind::kScale:
      backend_.scale(*stream_, out(), op.factor);
      break;
    case OpKind::kAdd:
      backend_.add(*stream_, out(), in(), slot(op.in2, count));
      break;
    case OpKind::kSoftcap:
      backend_.softcap(*stream_, out(), op.factor);
      break;
    case OpKind::kRoute:
      route(prepared, count, hooks);
      break;
    case OpKind::kGroupedLinear:
      grouped_linear(prepared, count, hooks);
      break;
    case OpKind::kCombine:
      backend_.combine(*stream_, out(), in(), slot(op.in2, count), op.accumulate);
      break;
    case OpKind::kAssign:
      backend_.assign(*stream_, out(), in());
      break;
    case OpKind::kEmbed:
    case OpKind::kLayerEnd:
    case OpKind::kSelectRows:
      break;  // forward() and emit() handle these
  }
  if (timed) {
    backend_.synchronize(*stream_);
    hooks->on_op_time(op, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
}

void ForwardContext::prepare_far() {
  const arch::OpList& list = model_->op_list();
  for (const Op& op : list.ops) {
    if (op.kind != OpKind::kAttention) continue;
    for (const int index : {op.in, op.k}) {
      if (raw_.count(index) == 0)
        raw_[index] = {backend_.allocate(max_rows_ * list.slots[index].width * sizeof(float)), rope_of(list, index)};
    }
  }
  std::uint64_t most = 0;
  for (const Rotation& rotation : rotations_) most = std::max(most, rotation.n_freq);
  far_position_ = backend_.allocate(sizeof(std::int32_t));
  far_table_ = backend_.allocate(2 * most * sizeof(float));
}

DeviceTensor ForwardContext::raw(int index, std::uint64_t rows) const {
  return DeviceTensor::dense(raw_.at(index).rows.data(), rows, model_->op_list().slots[index].width);
}

// Hands every state that looks far its keys from before RoPE and its queries, rotated to the distance at which it wants
// distant tokens. Returns those queries.
DeviceTensor ForwardContext::look_far(const Op& op, const Rows& rows, std::span<const SequenceInput> inputs) {
  const Op& rope = *raw_.at(op.in).rope;
  const Rotation& rotation = rotations_[static_cast<std::size_t>(rope.rope)];
  const DeviceTensor all = raw(op.in, rows.total()), k = raw(op.k, rows.total()), v = slot(op.v, rows.total());
  const DeviceTensor table = DeviceTensor::dense(far_table_.data(), 1, 2 * rotation.n_freq);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SequenceState& state = *inputs[i].state;
    const auto distance = static_cast<std::int32_t>(state.far_distance());
    if (distance == 0) continue;
    const auto own = [&](const DeviceTensor& x) { return x.slice_rows(rows.ranges[i].begin, rows.ranges[i].count); };
    backend_.upload(*stream_, far_position_.data(), &distance, sizeof(distance));
    backend_.rope_table(*stream_, table, static_cast<const std::int32_t*>(far_position_.data()),
                        static_cast<const float*>(rotation.inv_freq.data()), rotation.n_freq, rotation.mscale);
    backend_.rope(*stream_, own(all), table, rope.head_dim, rope.rope_layout);
    state.append_raw(*stream_, op.state_layer, own(k), own(v));
    state.choose(*stream_, op.state_layer, own(all));
  }
  return all;
}

void ForwardContext::rotate(const Op& op, std::uint64_t count) {
  if (raw_.count(op.out) != 0) backend_.assign(*stream_, raw(op.out, count), slot(op.out, count));
  const Rotation& rotation = rotations_[static_cast<std::size_t>(op.rope)];
  backend_.rope(*stream_, slot(op.out, count), DeviceTensor::dense(rotation.table.data(), count, 2 * rotation.n_freq),
                op.head_dim, op.rope_layout);
}

void ForwardContext::linear(const PreparedOp& prepared, const Rows& rows, std::uint64_t count, ForwardHooks* hooks) {
  const Op& op = *prepared.op;
  const DeviceTensor x = slot(op.in, count);
  if (hooks != nullptr) hooks->on_linear_input(op, x, backend_, *stream_);
  std::vector<kernels::LinearCall> calls;
  for (std::size_t i = 0; i < op.linears.size(); ++i) {
    calls.push_back({prepared.linears[i].get(), slot(op.linears[i].out, count), op.linears[i].accumulate});
  }
  backend_.linear(*stream_, x, calls);
  // Row indices of the batch are only known before row selection; the head takes no adapters.
  if (op.layer >= 0 && !rows.adapted.empty()) adapters(prepared, rows, count);
}

void ForwardContext::grouped_linear(const PreparedOp& prepared, std::uint64_t count, ForwardHooks* hooks) {
  const Op& op = *prepared.op;
  const DeviceTensor x = slot(op.in, count);
  if (hooks != nullptr) hooks->on_linear_input(op, x, backend_, *stream_);
  std::vector<const kernels::PreparedLinear*> weights;
  for (const auto& linear : prepared.linears) weights.push_back(linear.get());
  std::vector<kernels::GroupedCall> calls;
  std::size_t first = 0;
  for (const arch::LinearUse& use : op.linears) {
    calls.push_back({std::span(weights).subspan(first, use.matrices), slot(use.out, count)});
    first += use.matrices;
  }
  const void* choice = op.choice == arch::kNoSlot ? nullptr : slot(op.choice, count).data;
  backend_.grouped_linear(*stream_, x, static_cast<const std::int32_t*>(choice), calls);
}

void ForwardContext::route(const PreparedOp& prepared, std::uint64_t count, ForwardHooks* hooks) {
  const Op& op = *prepared.op;
  const arch::RouterUse& use = op.router;
  const kernels::RouterParams params{use.score,
                                     use.top_k,
                                     use.n_groups,
                                     use.top_groups,
                                     use.normalize,
                                     use.scale,
                                     static_cast<const float*>(prepared.bias.data())};
  const DeviceTensor logits = slot(op.in, count), experts = slot(op.choice, count), weights = slot(op.out, count);
  backend_.route(*stream_, params, weights, experts, logits);
  if (hooks != nullptr) hooks->on_router(op, logits, experts, weights, backend_, *stream_);
}

void ForwardContext::adapters(const PreparedOp& prepared, const Rows& rows, std::uint64_t count) {
  const Op& op = *prepared.op;
  const DeviceTensor x = slot(op.in, count);
  for (const auto& [turn, adapter, adapted_rows] : rows.adapted) {
    for (const arch::LinearUse& use : op.linears) {
      const auto it = adapter->low_rank.find(use.weight);
      if (it == adapter->low_rank.end()) continue;
      backend_.low_rank(*stream_, slot(use.out, count), x, *it->second.a, *it->second.b, it->second.scale,
                        adapted_rows);
    }
  }
}

// The rows of k and v of every sequence go to its state.
void ForwardContext::store(const Op& op, const Rows& rows, std::span<const SequenceInput> inputs) {
  const DeviceTensor k = slot(op.k, rows.total()), v = slot(op.v, rows.total());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Rows::Range& range = rows.ranges[i];
    inputs[i].state->append(*stream_, op.state_layer, k.slice_rows(range.begin, range.count),
                            v.slice_rows(range.begin, range.count));
  }
}

void ForwardContext::attention(const PreparedOp& prepared, const Rows& rows, std::span<const SequenceInput> inputs) {
  const Op& op = *prepared.op;
  const bool own = op.kind == OpKind::kAttention;  // or the source's keys and values
  if (own) store(op, rows, inputs);
  kernels::AttentionParams params;
  if (own && !raw_.empty()) params.far_q = look_far(op, rows, inputs);
  std::vector<kernels::AttentionSequence> sequences;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Rows::Range& range = rows.ranges[i];
    SequenceState& state = *inputs[i].state;
    if (own) {
      const std::span<const kernels::KvRun> runs = state.segments(op.state_layer, range.count);
      const SequenceState::Mass mass = state.mass(op.state_layer);
      sequences.push_back(
          {range.begin, range.count, state.length(), runs, range.bidirectional, mass.data, mass.stride});
    } else {
      sequences.push_back({range.begin, range.count, state.length(), inputs[i].source->segments(op.state_layer)});
    }
  }
  params.n_heads = op.attention.n_heads;
  params.scale = op.attention.scale;
  params.softcap = op.attention.softcap;
  params.causal = op.attention.causal;
  params.window = op.attention.window;
  const auto* weight = static_cast<const float*>(prepared.weight.data());
  if (op.attention.sinks) params.sinks = weight;
  if (op.attention.relative.buckets > 0) {
    params.relative_bias = weight;
    params.relative_span = static_cast<std::int32_t>(op.attention.relative.max_distance);
  }
  if (op.attention.alibi) params.alibi_slopes = static_cast<const float*>(alibi_slopes_.data());
  backend_.attention(*stream_, inputs.front().state->layout(), params, slot(op.out, rows.total()),
                     slot(op.in, rows.total()), sequences);
}

}  // namespace lathe::model
