#include "arch/lower.h"

#include <fmt/format.h>

#include <utility>

namespace lathe::arch {
namespace {

class Builder {
 public:
  explicit Builder(const Architecture& architecture) : a_(architecture) {}

  OpList build() {
    declare_slots();
    embed();
    StateGroup group{StateKind::kPagedKv, {}, a_.n_kv_heads, a_.head_dim, a_.v_head_dim, a_.window};
    for (std::uint32_t layer = 0; layer < a_.n_layers; ++layer) {
      layer_ = static_cast<int>(layer);
      group.layers.push_back(layer);
      attention_block();
      ffn_block();
      add({.kind = OpKind::kLayerEnd, .out = x_});
    }
    layer_ = -1;
    list_.state.push_back(std::move(group));
    head();
    return std::move(list_);
  }

 private:
  int slot(std::string name, std::uint64_t width, int parent = kNoSlot, std::uint64_t offset = 0) {
    list_.slots.push_back({std::move(name), width, parent, offset});
    return static_cast<int>(list_.slots.size()) - 1;
  }

  void add(Op op) {
    op.layer = layer_;
    list_.ops.push_back(std::move(op));
  }

  std::string weight(std::string_view name) const { return fmt::format("blk.{}.{}", layer_, name); }

  void declare_slots() {
    x_ = list_.residual = slot("residual", a_.width);
    normed_ = slot("normed", a_.width);
    qkv_ = slot("qkv", a_.q_width() + a_.k_width() + a_.v_width());
    q_ = slot("q", a_.q_width(), qkv_, 0);
    k_ = slot("k", a_.k_width(), qkv_, a_.q_width());
    v_ = slot("v", a_.v_width(), qkv_, a_.q_width() + a_.k_width());
    attended_ = slot("attended", std::uint64_t{a_.n_heads} * a_.v_head_dim);
    up_ = slot("up", a_.ffn_width);
    if (a_.gated_ffn) gate_ = slot("gate", a_.ffn_width);
    if (a_.residual_scale != 1) branch_ = slot("branch", a_.width);
    selected_ = slot("selected", a_.width);
    list_.hidden = slot("hidden", a_.width);
    list_.logits = slot("logits", a_.vocab_size);
  }

  void embed() {
    add({.kind = OpKind::kEmbed, .out = x_, .weight = "token_embd", .factor = a_.embedding_scale});
    if (a_.position == PositionKind::kLearned)
      add({.kind = OpKind::kPositionEmbed, .out = x_, .weight = "position_embd"});
  }

  void norm(int out, int in, std::string name) {
    add({.kind = OpKind::kNorm, .in = in, .out = out, .weight = std::move(name), .has_bias = a_.norm_bias});
  }

  void linear(int in, std::vector<LinearUse> uses) {
    add({.kind = OpKind::kLinear, .in = in, .linears = std::move(uses)});
  }

  // A product whose result joins the residual stream, scaled if the architecture says so.
  void join_residual(int in, std::string_view name, bool bias) {
    if (a_.residual_scale == 1) {
      linear(in, {{weight(name), bias, x_, true, a_.width}});
      return;
    }
    linear(in, {{weight(name), bias, branch_, false, a_.width}});
    add({.kind = OpKind::kScale, .out = branch_, .factor = a_.residual_scale});
    add({.kind = OpKind::kAdd, .in = x_, .in2 = branch_, .out = x_});
  }

  void attention_block() {
    norm(normed_, x_, weight("attn_norm"));
    if (a_.fused_qkv) {
      linear(normed_, {{weight("attn_qkv"), a_.attention_bias, qkv_, false, list_.slots[qkv_].width}});
    } else {
      linear(normed_, {{weight("attn_q"), a_.attention_bias, q_, false, a_.q_width()},
                       {weight("attn_k"), a_.attention_bias, k_, false, a_.k_width()},
                       {weight("attn_v"), a_.attention_bias, v_, false, a_.v_width()}});
    }
    if (a_.qk_norm) {
      add({.kind = OpKind::kHeadNorm, .in = q_, .out = q_, .weight = weight("attn_q_norm")});
      add({.kind = OpKind::kHeadNorm, .in = k_, .out = k_, .weight = weight("attn_k_norm")});
    }
    if (a_.position == PositionKind::kRope) {
      add({.kind = OpKind::kRope, .out = q_});
      add({.kind = OpKind::kRope, .out = k_});
    }
    add({.kind = OpKind::kAttention, .in = q_, .out = attended_, .k = k_, .v = v_});
    join_residual(attended_, "attn_output", a_.output_bias);
  }

  void ffn_block() {
    norm(normed_, x_, weight("ffn_norm"));
    if (a_.gated_ffn) {
      linear(normed_, {{weight("ffn_gate"), a_.ffn_bias, gate_, false, a_.ffn_width},
                       {weight("ffn_up"), a_.ffn_bias, up_, false, a_.ffn_width}});
      add({.kind = OpKind::kGated, .in = gate_, .in2 = up_, .out = up_});
    } else {
      linear(normed_, {{weight("ffn_up"), a_.ffn_bias, up_, false, a_.ffn_width}});
      add({.kind = OpKind::kActivate, .in = up_, .out = up_});
    }
    join_residual(up_, "ffn_down", a_.ffn_bias);
  }

  void head() {
    add({.kind = OpKind::kSelectRows, .in = x_, .out = selected_});
    norm(list_.hidden, selected_, "output_norm");
    linear(list_.hidden, {{a_.tied_embeddings ? "token_embd" : "output", false, list_.logits, false, a_.vocab_size}});
    if (a_.logit_scale != 1) add({.kind = OpKind::kScale, .out = list_.logits, .factor = a_.logit_scale});
    if (a_.logit_softcap > 0) add({.kind = OpKind::kSoftcap, .out = list_.logits, .factor = a_.logit_softcap});
  }

  const Architecture& a_;
  OpList list_;
  int layer_ = -1;
  int x_ = kNoSlot, normed_ = kNoSlot, qkv_ = kNoSlot, q_ = kNoSlot, k_ = kNoSlot, v_ = kNoSlot, attended_ = kNoSlot,
      up_ = kNoSlot, gate_ = kNoSlot, branch_ = kNoSlot, selected_ = kNoSlot;
};

std::string_view op_name(OpKind kind) {
  static constexpr std::string_view kNames[] = {"embed", "position_embed", "norm",        "head_norm", "linear",
                                                "rope",  "attention",      "activate",    "gated",     "scale",
                                                "add",   "layer_end",      "select_rows", "softcap"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace

OpList lower(const Architecture& architecture) { return Builder(architecture).build(); }

std::string describe(const OpList& list) {
  std::string text;
  const auto name = [&](int slot) { return slot == kNoSlot ? std::string() : list.slots[slot].name; };
  for (const Op& op : list.ops) {
    text += fmt::format("{:>3} {:<14} {} {} -> {} {}", op.layer, op_name(op.kind), name(op.in), name(op.in2),
                        name(op.out), op.weight);
    for (const LinearUse& use : op.linears)
      text += fmt::format(" {}{}{}", use.weight, use.accumulate ? " += " : " -> ", name(use.out));
    text += '\n';
  }
  return text;
}

}  // namespace lathe::arch
