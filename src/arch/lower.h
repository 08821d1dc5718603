// From an architecture to a list of typed operations over named slots. The native executor, the learning executor and
// the analyser all walk this list, so every flag of Architecture is interpreted here and nowhere else: an operation
// carries everything that its execution needs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "arch/rope.h"

namespace lathe::arch {

inline constexpr int kNoSlot = -1;

// A value of the forward pass: [rows, width] floats. A view is `width` columns of its parent from `offset` on; with
// heads > 1 it is that part of every head, [rows * heads, width], the heads lying parent width / heads apart.
struct Slot {
  std::string name;
  std::uint64_t width = 0;
  int parent = kNoSlot;
  std::uint64_t offset = 0;
  std::uint32_t heads = 1;
  bool ids = false;  // 32-bit integers rather than floats
};

enum class OpKind : std::uint8_t {
  kEmbed,           // out = factor * weight[ids]
  kPositionEmbed,   // out += weight[positions + position_offset], or that row of arch/sinusoids.h without a weight
  kTypeEmbed,       // out += weight[0], the vector of the first kind of segment
  kNorm,            // out = norm of each norm_size-wide run of in
  kLinear,          // every product's out = (or +=) its weight * in
  kRope,            // rotates the heads of out in place
  kAttention,       // out = attention(in; k, v appended to the layer's state)
  kCrossAttention,  // out = attention(in; what the source's state holds for the layer)
  kStore,           // k, v appended to the state of state_layer, for kCrossAttention to see
  kActivate,        // out = act(in)
  kGated,           // out = act(in) * in2
  kScale,           // out *= factor
  kAdd,             // out = in + in2
  kLayerEnd,        // marks `out` as the layer's output (hooks, early exit)
  kSelectRows,      // out = the rows of in whose output was asked for; later ops see only those
  kSoftcap,         // out = factor * tanh(out / factor)
  kRoute,           // out, choice = the weights and numbers of the experts chosen by the logits in
  kGroupedLinear,   // every product's out = one of its weights * in: that of choice, or row i takes matrix i mod
                    // matrices
  kCombine,         // out = (or +=) the sum of in's rows that belong to a row of out, weighed by in2
  kAssign,          // out = in
};

struct LinearUse {
  std::string weight;  // without ".weight"; its ".bias" is used when has_bias
  bool has_bias = false;
  int out = kNoSlot;
  bool accumulate = false;
  std::uint64_t out_features = 0;
  // kGroupedLinear: so many matrices of that shape, "<weight>.0", "<weight>.1", ... ; otherwise 0.
  std::uint32_t matrices = 0;
};

// How a router chooses; see MixtureOfExperts.
struct RouterUse {
  std::uint32_t n_experts = 0, top_k = 0, n_groups = 1, top_groups = 1;
  RouterScore score = RouterScore::kSoftmax;
  bool normalize = false;
  float scale = 1;
  bool correction = false;  // op.weight's ".bias" is added to the scores for the choice
};

// One attention: who sees what, and how scores come about.
struct AttentionUse {
  std::uint32_t n_heads = 0, n_kv_heads = 0;
  std::uint32_t k_dim = 0, v_dim = 0;  // per head
  float scale = 1;                     // scores = scale * q.k
  float softcap = 0;                   // > 0: scores = softcap * tanh(scores / softcap)
  std::uint32_t window = 0;            // > 0: a query sees the last `window` positions, its own included
  bool causal = true;                  // false: and those after it (encoders)
  bool alibi = false;                  // scores += slope of the head * distance (arch/alibi.h)
  bool sinks = false;                  // op.weight: a score per head that only takes part in the softmax
  RelativeBias relative;               // with buckets, op.weight: biases by distance [buckets, n_heads]
};

struct Op {
  OpKind kind;
  int layer = -1;  // -1 outside of layers
  int in = kNoSlot, in2 = kNoSlot, out = kNoSlot;
  int k = kNoSlot, v = kNoSlot;                       // kAttention, kStore
  std::uint32_t state_layer = 0;                      // k*Attention, kStore
  int choice = kNoSlot;                               // kRoute (written), kGroupedLinear (read; none: by row)
  std::string weight;                                 // k*Embed, kNorm, kAttention, kRoute: without ".weight"
  bool has_bias = false;                              // kNorm
  bool accumulate = false;                            // kCombine
  std::vector<LinearUse> linears;                     // kLinear, kGroupedLinear
  float factor = 1;                                   // kEmbed, kScale, kSoftcap
  std::uint32_t position_offset = 0;                  // kPositionEmbed
  std::uint64_t positions = 0;                        // kPositionEmbed without a weight: rows of the table
  NormKind norm = NormKind::kRms;                     // kNorm
  float norm_eps = 0;                                 // kNorm
  std::uint64_t norm_size = 0;                        // kNorm: elements that are normalised together
  ActivationKind activation = ActivationKind::kSilu;  // kActivate, kGated
  float activation_limit = 0;                         // kGated: see Architecture::activation_limit
  int rope = -1;                                      // kRope: of OpList::ropes
  std::uint32_t head_dim = 0;                         // kRope
  RopeLayout rope_layout = RopeLayout::kHalves;       // kRope
  AttentionUse attention;                             // k*Attention
  RouterUse router;                                   // kRoute
};

// Layers that keep the same kind of per-sequence state.
enum class StateKind : std::uint8_t { kPagedKv, kRecurrent, kCrossAttention };
struct StateGroup {
  StateKind kind = StateKind::kPagedKv;
  std::vector<std::uint32_t> layers;
  std::uint32_t n_kv_heads = 0, k_dim = 0, v_dim = 0;
  std::uint32_t window = 0;  // > 0: no layer of the group looks further back
};

struct OpList {
  std::vector<Slot> slots;
  std::vector<Op> ops;
  std::vector<RopeRule> ropes;  // what the layers' rotations differ in
  std::vector<StateGroup> state;
  int residual = kNoSlot;  // [rows, width]: where given hidden states enter, and what layers pass on
  int hidden = kNoSlot;    // [selected rows, width]: after the final norm
  int logits = kNoSlot;    // [selected rows, vocab]; none without an output head
};

OpList lower(const Architecture& architecture);
// The encoder of an encoder-decoder model. It leaves the keys and values that the decoder's layers will attend to in
// the state of its sequence, in place of its own.
OpList lower_encoder(const Architecture& architecture);

// One line per operation, for people ("lathe info --ops").
std::string describe(const OpList& list);

}  // namespace lathe::arch
