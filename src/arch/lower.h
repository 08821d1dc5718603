// From an architecture to a list of typed operations over named slots. The native executor, the learning executor and
// the analyser all walk this list, so every flag of Architecture is interpreted here and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/architecture.h"

namespace lathe::arch {

inline constexpr int kNoSlot = -1;

// A value of the forward pass: [rows, width] floats. A view is `width` columns of its parent from `offset` on.
struct Slot {
  std::string name;
  std::uint64_t width = 0;
  int parent = kNoSlot;
  std::uint64_t offset = 0;
};

enum class OpKind : std::uint8_t {
  kEmbed,          // out = factor * weight[ids]
  kPositionEmbed,  // out += weight[positions]
  kNorm,           // out = norm(in)
  kHeadNorm,       // out = norm of each head_dim-wide head of in
  kLinear,         // every product's out = (or +=) its weight * in
  kRope,           // rotates the heads of out in place
  kAttention,      // out = attention(in; k, v appended to the layer's state)
  kActivate,       // out = act(in)
  kGated,          // out = act(in) * in2
  kScale,          // out *= factor
  kAdd,            // out = in + in2
  kLayerEnd,       // marks `out` as the layer's output (hooks, early exit)
  kSelectRows,     // out = the rows of in whose output was asked for; later ops see only those
  kSoftcap,        // out = factor * tanh(out / factor)
};

struct LinearUse {
  std::string weight;  // without ".weight"; its ".bias" is used when has_bias
  bool has_bias = false;
  int out = kNoSlot;
  bool accumulate = false;
  std::uint64_t out_features = 0;
};

struct Op {
  OpKind kind;
  int layer = -1;  // -1 outside of layers
  int in = kNoSlot, in2 = kNoSlot, out = kNoSlot;
  int k = kNoSlot, v = kNoSlot;    // kAttention
  std::string weight;              // kEmbed, kPositionEmbed, kNorm, kHeadNorm: without ".weight"
  bool has_bias = false;           // kNorm
  std::vector<LinearUse> linears;  // kLinear
  float factor = 1;                // kEmbed, kScale, kSoftcap
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
  std::vector<StateGroup> state;
  int residual = kNoSlot;  // [rows, width]: where given hidden states enter, and what layers pass on
  int hidden = kNoSlot;    // [selected rows, width]: after the final norm
  int logits = kNoSlot;    // [selected rows, vocab]
};

OpList lower(const Architecture& architecture);

// One line per operation, for people ("lathe info --ops").
std::string describe(const OpList& list);

}  // namespace lathe::arch
