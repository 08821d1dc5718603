#include "arch/lower.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace lathe::arch {
namespace {

class Builder {
 public:
  // `architecture` is that of the layers to build; an encoder's leave keys and values for those of `reader`.
  Builder(const Architecture& architecture, const Architecture* reader)
      : a_(architecture),
        reader_(reader),
        side_(reader                              ? "enc."
              : architecture.encoder.n_layers > 0 ? "dec."
                                                  : "") {}

  OpList build() {
    declare_slots();
    embed();
    for (std::uint32_t layer = 0; layer < a_.n_layers; ++layer) {
      layer_ = static_cast<int>(layer);
      if (a_.parallel_block) {
        parallel_block();
      } else if (a_.stream_norms) {
        stream_norm_block();
      } else {
        sequential_block();
      }
      add({.kind = OpKind::kLayerEnd, .out = x_});
    }
    if (reader_ != nullptr) {
      store_for_reader();
    } else {
      layer_ = -1;
      head();
    }
    return std::move(list_);
  }

 private:
  int slot(std::string name, std::uint64_t width, int parent = kNoSlot, std::uint64_t offset = 0,
           std::uint32_t heads = 1) {
    list_.slots.push_back({std::move(name), width, parent, offset, heads});
    return static_cast<int>(list_.slots.size()) - 1;
  }
  std::uint64_t width_of(int slot) const { return list_.slots[static_cast<std::size_t>(slot)].width; }

  void add(Op op) {
    op.layer = layer_;
    list_.ops.push_back(std::move(op));
  }

  std::string weight(std::string_view name) const { return layer_weight(layer_, name); }
  std::string layer_weight(int layer, std::string_view name) const {
    return fmt::format("{}blk.{}.{}", side_, layer, name);
  }

  // Whether what a branch returns is changed before it joins the residual stream.
  bool branches_apart() const { return a_.residual_scale != 1 || a_.post_norms; }

  void declare_slots() {
    x_ = list_.residual = slot("residual", a_.width);
    normed_ = slot("normed", a_.width);
    if (a_.parallel_block && a_.ffn_norm) ffn_normed_ = slot("ffn_normed", a_.width);
    attended_ = slot("attended", std::uint64_t{a_.n_heads} * a_.v_head_dim);
    if (a_.mla.kv_rank > 0) {
      declare_latent_slots();
    } else {
      qkv_ = slot("qkv", a_.q_width() + a_.k_width() + a_.v_width());
      q_ = slot("q", a_.q_width(), qkv_, 0);
      k_ = slot("k", a_.k_width(), qkv_, a_.q_width());
      v_ = slot("v", a_.v_width(), qkv_, a_.q_width() + a_.k_width());
    }
    if (a_.fused_gate_up) {
      gate_up_ = slot("gate_up", 2 * std::uint64_t{a_.ffn_width});
      gate_ = slot("gate", a_.ffn_width, gate_up_, 0);
      up_ = slot("up", a_.ffn_width, gate_up_, a_.ffn_width);
    } else {
      up_ = slot("up", a_.ffn_width);
      if (a_.gated_ffn) gate_ = slot("gate", a_.ffn_width);
    }
    if (a_.moe.n_experts > 0) declare_expert_slots();
    if (branches_apart()) branch_ = slot("branch", a_.width);
    selected_ = slot("selected", a_.width);
    list_.hidden = a_.stream_norms || reader_ != nullptr ? selected_ : slot("hidden", a_.width);
    if (a_.output_head) list_.logits = slot("logits", a_.vocab_size);
  }

  // Queries and the one key are [latent, rotated]; the value is the key's latent part.
  void declare_latent_slots() {
    const std::uint64_t rank = a_.mla.kv_rank, rotated = a_.rotary_dim;
    if (a_.mla.q_rank > 0) q_low_ = slot("q_low", a_.mla.q_rank);
    q_ = slot("q", a_.q_width());
    q_plain_ = slot("q_plain", a_.head_dim - rotated, q_, 0, a_.n_heads);
    q_rotated_ = slot("q_rotated", rotated, q_, a_.head_dim - rotated, a_.n_heads);
    k_ = slot("k", rank + rotated);
    v_ = slot("v", rank, k_, 0);
    k_rotated_ = slot("k_rotated", rotated, k_, rank);
    latent_q_ = slot("latent_q", a_.n_heads * (rank + rotated));
    latent_q_plain_ = slot("latent_q_plain", rank, latent_q_, 0, a_.n_heads);
    latent_q_rotated_ = slot("latent_q_rotated", rotated, latent_q_, rank, a_.n_heads);
    latent_attended_ = slot("latent_attended", a_.n_heads * rank);
    latent_attended_heads_ = slot("latent_attended_heads", rank, latent_attended_, 0, a_.n_heads);
    attended_heads_ = slot("attended_heads", a_.v_head_dim, attended_, 0, a_.n_heads);
  }

  // What top_k experts make of a token lies side by side; the views have a row for each.
  void declare_expert_slots() {
    const MixtureOfExperts& moe = a_.moe;
    const std::uint64_t k = moe.top_k;
    router_logits_ = slot("router_logits", moe.n_experts);
    expert_weights_ = slot("expert_weights", k);
    expert_ids_ = slot("expert_ids", k);
    list_.slots.back().ids = true;
    expert_gate_ = slot("expert_gate", k * moe.ffn_width);
    expert_gate_rows_ = slot("expert_gate_rows", moe.ffn_width, expert_gate_, 0, moe.top_k);
    expert_up_ = slot("expert_up", k * moe.ffn_width);
    expert_up_rows_ = slot("expert_up_rows", moe.ffn_width, expert_up_, 0, moe.top_k);
    expert_out_ = slot("expert_out", k * a_.width);
    expert_out_rows_ = slot("expert_out_rows", a_.width, expert_out_, 0, moe.top_k);
    if (moe.shared_ffn_width == 0) return;
    shared_gate_ = slot("shared_gate", moe.shared_ffn_width);
    shared_up_ = slot("shared_up", moe.shared_ffn_width);
    if (!moe.shared_gate) return;
    shared_out_ = slot("shared_out", a_.width);
    shared_logit_ = slot("shared_logit", 1);
    shared_weight_ = slot("shared_weight", 1);
    shared_id_ = slot("shared_id", 1);
    list_.slots.back().ids = true;
  }

  void embed() {
    const bool own = reader_ != nullptr && reader_->encoder.vocab_size > 0;
    add({.kind = OpKind::kEmbed,
         .out = x_,
         .weight = own ? "enc.token_embd" : "token_embd",
         .factor = a_.embedding_scale});
    if (a_.position == PositionKind::kSinusoidal) {
      add({.kind = OpKind::kPositionEmbed,
           .out = x_,
           .position_offset = a_.position_offset,
           .positions = std::uint64_t{a_.context_length} + a_.position_offset});
    }
    if (a_.position == PositionKind::kLearned) {
      add({.kind = OpKind::kPositionEmbed,
           .out = x_,
           .weight = "position_embd",
           .position_offset = a_.position_offset});
    }
    if (a_.token_types > 0) add({.kind = OpKind::kTypeEmbed, .out = x_, .weight = "token_types"});
    if (a_.embedding_norm) norm(x_, x_, "token_embd_norm");
  }

  void norm(int out, int in, std::string name) {
    add({.kind = OpKind::kNorm,
         .in = in,
         .out = out,
         .weight = std::move(name),
         .has_bias = a_.norm_bias,
         .norm = a_.norm,
         .norm_eps = a_.norm_eps,
         .norm_size = width_of(in)});
  }

  void head_norm(int heads, std::string name) {
    add({.kind = OpKind::kNorm,
         .in = heads,
         .out = heads,
         .weight = std::move(name),
         .norm = NormKind::kRms,
         .norm_eps = a_.norm_eps,
         .norm_size = a_.head_dim});
  }

  void linear(int in, std::vector<LinearUse> uses) {
    add({.kind = OpKind::kLinear, .in = in, .linears = std::move(uses)});
  }

  void grouped(int in, int choice, std::vector<LinearUse> uses) {
    add({.kind = OpKind::kGroupedLinear, .in = in, .choice = choice, .linears = std::move(uses)});
  }

  void gate(int gate, int up) {
    add({.kind = OpKind::kGated,
         .in = gate,
         .in2 = up,
         .out = up,
         .activation = a_.activation,
         .activation_limit = a_.activation_limit});
  }

  // Where a branch leaves its result: `accumulate` what is there already when it is the residual stream.
  int branch_out() const { return branches_apart() ? branch_ : x_; }
  bool branch_accumulates() const { return !branches_apart(); }

  // A branch that is not in the residual stream yet joins it, normalised and scaled if the architecture says so.
  void join_residual(std::string_view post_norm) {
    if (!branches_apart()) return;
    if (a_.post_norms) norm(branch_, branch_, weight(post_norm));
    if (a_.residual_scale != 1) add({.kind = OpKind::kScale, .out = branch_, .factor = a_.residual_scale});
    add({.kind = OpKind::kAdd, .in = x_, .in2 = branch_, .out = x_});
  }

  void sequential_block() {
    norm(normed_, x_, weight("attn_norm"));
    attention(normed_);
    if (a_.encoder.n_layers > 0) {
      norm(normed_, x_, weight("cross_attn_norm"));
      cross_attention(normed_);
    }
    norm(normed_, x_, weight("ffn_norm"));
    feed_forward(normed_);
  }

  void cross_attention(int in) {
    linear(in, {{weight("cross_attn_q"), a_.attention_bias, q_, false, a_.q_width()}});
    add({.kind = OpKind::kCrossAttention,
         .in = q_,
         .out = attended_,
         .state_layer = static_cast<std::uint32_t>(layer_),
         .attention = {.n_heads = a_.n_heads,
                       .n_kv_heads = a_.n_kv_heads,
                       .k_dim = a_.head_dim,
                       .v_dim = a_.v_head_dim,
                       .scale = attention_scale(),
                       .softcap = a_.attention_softcap,
                       .causal = false}});
    keep_state({StateKind::kCrossAttention, {}, a_.n_kv_heads, a_.head_dim, a_.v_head_dim, 0});
    linear(attended_, {{weight("cross_attn_output"), a_.output_bias, branch_out(), branch_accumulates(), a_.width}});
    join_residual({});
  }

  // What leaves the encoder is the same for every token of the decoder, and so are the keys and values made of it. They
  // count as the last layer's.
  void store_for_reader() {
    norm(x_, x_, "enc.output_norm");
    for (std::uint32_t layer = 0; layer < reader_->n_layers; ++layer) {
      const auto name = [&](std::string_view what) { return fmt::format("dec.blk.{}.cross_attn_{}", layer, what); };
      linear(x_, {{name("k"), a_.attention_bias, k_, false, a_.k_width()},
                  {name("v"), a_.attention_bias, v_, false, a_.v_width()}});
      add({.kind = OpKind::kStore, .k = k_, .v = v_, .state_layer = layer});
    }
    add({.kind = OpKind::kSelectRows, .in = x_, .out = selected_});
  }

  float attention_scale() const {
    return a_.attention_scale > 0 ? a_.attention_scale : 1 / std::sqrt(static_cast<float>(a_.head_dim));
  }

  // Both branches read the stream as the layer found it, so every norm comes before the first of them joins.
  void parallel_block() {
    norm(normed_, x_, weight("attn_norm"));
    if (a_.ffn_norm) norm(ffn_normed_, x_, weight("ffn_norm"));
    attention(normed_);
    feed_forward(a_.ffn_norm ? ffn_normed_ : normed_);
  }

  // What leaves a layer is normalised, so there is no norm before the head (BERT; Vaswani et al. 2017).
  void stream_norm_block() {
    attention(x_);
    norm(x_, x_, weight("attn_output_norm"));
    feed_forward(x_);
    norm(x_, x_, weight("layer_output_norm"));
  }

  void attention(int in) {
    if (a_.mla.kv_rank > 0) {
      latent_attention(in);
    } else {
      plain_attention(in);
    }
    if (a_.sub_norms) norm(attended_, attended_, weight("attn_sub_norm"));
    linear(attended_, {{weight("attn_output"), a_.output_bias, branch_out(), branch_accumulates(), a_.width}});
    join_residual("post_attention_norm");
  }

  void rotate(int heads, std::uint32_t head_dim) {
    add({.kind = OpKind::kRope,
         .out = heads,
         .rope = rope_of_layer(),
         .head_dim = head_dim,
         .rope_layout = a_.rope_layout});
  }

  void plain_attention(int in) {
    if (a_.fused_qkv) {
      linear(in, {{weight("attn_qkv"), a_.attention_bias, qkv_, false, width_of(qkv_)}});
    } else {
      linear(in, {{weight("attn_q"), a_.attention_bias, q_, false, a_.q_width()},
                  {weight("attn_k"), a_.attention_bias, k_, false, a_.k_width()},
                  {weight("attn_v"), a_.attention_bias, v_, false, a_.v_width()}});
    }
    if (a_.qk_norm) {
      head_norm(q_, weight("attn_q_norm"));
      head_norm(k_, weight("attn_k_norm"));
    }
    if (a_.position == PositionKind::kRope) {
      rotate(q_, a_.head_dim);
      rotate(k_, a_.head_dim);
    }
    attend(q_, attended_, a_.n_kv_heads, a_.head_dim, a_.v_head_dim);
  }

  // DeepSeek-V2, section 2.1, in its absorbed form: the product that would make a head's keys of the latent is done on
  // its query instead, and the one that would make its values on what attention returns, so that only the latent is
  // cached.
  void latent_attention(int in) {
    const std::uint32_t rank = a_.mla.kv_rank, rotated = a_.rotary_dim;
    const LinearUse to_key{weight("attn_kv_a_mqa"), a_.attention_bias, k_, false, width_of(k_)};
    if (a_.mla.q_rank > 0) {
      linear(in, {{weight("attn_q_a"), a_.attention_bias, q_low_, false, a_.mla.q_rank}, to_key});
      norm(q_low_, q_low_, weight("attn_q_a_norm"));
      linear(q_low_, {{weight("attn_q_b"), false, q_, false, a_.q_width()}});
    } else {
      linear(in, {{weight("attn_q"), false, q_, false, a_.q_width()}, to_key});
    }
    norm(v_, v_, weight("attn_kv_a_norm"));
    rotate(q_rotated_, rotated);
    rotate(k_rotated_, rotated);
    grouped(q_plain_, kNoSlot, {{weight("attn_k_b"), false, latent_q_plain_, false, rank, a_.n_heads}});
    add({.kind = OpKind::kAssign, .in = q_rotated_, .out = latent_q_rotated_});
    attend(latent_q_, latent_attended_, 1, rank + rotated, rank);
    grouped(latent_attended_heads_, kNoSlot,
            {{weight("attn_v_b"), false, attended_heads_, false, a_.v_head_dim, a_.n_heads}});
  }

  void attend(int q, int out, std::uint32_t n_kv_heads, std::uint32_t k_dim, std::uint32_t v_dim) {
    const std::uint32_t window = a_.layer_window(static_cast<std::uint32_t>(layer_));
    const bool relative = a_.position == PositionKind::kRelative;
    add({.kind = OpKind::kAttention,
         .in = q,
         .out = out,
         .k = k_,
         .v = v_,
         .state_layer = static_cast<std::uint32_t>(layer_),
         .weight = a_.attention_sinks ? weight("attn_sinks")
                   : relative         ? layer_weight(0, "attn_rel_b")
                                      : std::string(),
         .attention = {.n_heads = a_.n_heads,
                       .n_kv_heads = n_kv_heads,
                       .k_dim = k_dim,
                       .v_dim = v_dim,
                       .scale = attention_scale(),
                       .softcap = a_.attention_softcap,
                       .window = window,
                       .causal = a_.causal,
                       .alibi = a_.position == PositionKind::kAlibi,
                       .sinks = a_.attention_sinks,
                       .relative = relative ? a_.relative : RelativeBias()}});
    keep_state({StateKind::kPagedKv, {}, n_kv_heads, k_dim, v_dim, window});
  }

  int rope_of_layer() {
    const RopeRule rule = rope_rule(a_, static_cast<std::uint32_t>(layer_));
    const auto known = std::find(list_.ropes.begin(), list_.ropes.end(), rule);
    if (known != list_.ropes.end()) return static_cast<int>(known - list_.ropes.begin());
    list_.ropes.push_back(rule);
    return static_cast<int>(list_.ropes.size()) - 1;
  }

  // Puts the layer in the group that keeps the same state.
  void keep_state(const StateGroup& like) {
    const auto same = [&](const StateGroup& group) {
      return group.kind == like.kind && group.n_kv_heads == like.n_kv_heads && group.k_dim == like.k_dim &&
             group.v_dim == like.v_dim && group.window == like.window;
    };
    auto group = std::find_if(list_.state.begin(), list_.state.end(), same);
    if (group == list_.state.end()) group = list_.state.insert(group, like);
    group->layers.push_back(static_cast<std::uint32_t>(layer_));
  }

  void feed_forward(int in) {
    if (a_.layer_has_experts(static_cast<std::uint32_t>(layer_))) {
      experts(in);
    } else {
      dense(in);
    }
    join_residual("post_ffw_norm");
  }

  void dense(int in) {
    if (a_.fused_gate_up) {
      linear(in, {{weight("ffn_up"), a_.ffn_bias, gate_up_, false, width_of(gate_up_)}});
    } else if (a_.gated_ffn) {
      linear(in, {{weight("ffn_gate"), a_.ffn_bias, gate_, false, a_.ffn_width},
                  {weight("ffn_up"), a_.ffn_bias, up_, false, a_.ffn_width}});
    } else {
      linear(in, {{weight("ffn_up"), a_.ffn_bias, up_, false, a_.ffn_width}});
    }
    if (a_.gated_ffn) {
      gate(gate_, up_);
    } else {
      add({.kind = OpKind::kActivate, .in = up_, .out = up_, .activation = a_.activation});
    }
    if (a_.sub_norms) norm(up_, up_, weight("ffn_sub_norm"));
    linear(up_, {{weight("ffn_down"), a_.ffn_bias, branch_out(), branch_accumulates(), a_.width}});
  }

  void experts(int in) {
    const MixtureOfExperts& moe = a_.moe;
    std::vector<LinearUse> uses = {{weight("ffn_gate_inp"), moe.router_bias, router_logits_, false, moe.n_experts}};
    if (moe.shared_ffn_width > 0) {
      uses.push_back({weight("ffn_gate_shexp"), false, shared_gate_, false, moe.shared_ffn_width});
      uses.push_back({weight("ffn_up_shexp"), false, shared_up_, false, moe.shared_ffn_width});
      if (moe.shared_gate) uses.push_back({weight("ffn_gate_inp_shexp"), false, shared_logit_, false, 1});
    }
    linear(in, std::move(uses));
    route(router_logits_, expert_weights_, expert_ids_,
          {.n_experts = moe.n_experts,
           .top_k = moe.top_k,
           .n_groups = moe.n_groups,
           .top_groups = moe.top_groups,
           .score = moe.score,
           .normalize = moe.normalize,
           .scale = moe.scale,
           .correction = moe.correction_bias});
    grouped(in, expert_ids_,
            {{weight("ffn_gate"), moe.expert_bias, expert_gate_rows_, false, moe.ffn_width, moe.n_experts},
             {weight("ffn_up"), moe.expert_bias, expert_up_rows_, false, moe.ffn_width, moe.n_experts}});
    gate(expert_gate_, expert_up_);
    grouped(expert_up_rows_, expert_ids_,
            {{weight("ffn_down"), moe.expert_bias, expert_out_rows_, false, a_.width, moe.n_experts}});
    combine(expert_out_rows_, expert_weights_, branch_accumulates());
    if (moe.shared_ffn_width > 0) shared_expert();
  }

  void shared_expert() {
    gate(shared_gate_, shared_up_);
    if (!a_.moe.shared_gate) {
      linear(shared_up_, {{weight("ffn_down_shexp"), false, branch_out(), true, a_.width}});
      return;
    }
    linear(shared_up_, {{weight("ffn_down_shexp"), false, shared_out_, false, a_.width}});
    // A router with a choice of one: its weight is the sigmoid.
    route(shared_logit_, shared_weight_, shared_id_, {.n_experts = 1, .top_k = 1, .score = RouterScore::kSigmoid});
    combine(shared_out_, shared_weight_, true);
  }

  void route(int logits, int weights, int ids, const RouterUse& use) {
    add({.kind = OpKind::kRoute,
         .in = logits,
         .out = weights,
         .choice = ids,
         .weight = use.correction ? weight("exp_probs_b") : std::string(),
         .router = use});
  }

  void combine(int in, int weights, bool accumulate) {
    add({.kind = OpKind::kCombine, .in = in, .in2 = weights, .out = branch_out(), .accumulate = accumulate});
  }

  void head() {
    add({.kind = OpKind::kSelectRows, .in = x_, .out = selected_});
    if (!a_.stream_norms) norm(list_.hidden, selected_, side_ + "output_norm");
    if (!a_.output_head) return;
    linear(list_.hidden,
           {{a_.tied_embeddings ? "token_embd" : "output", a_.head_bias, list_.logits, false, a_.vocab_size}});
    if (a_.logit_scale != 1) add({.kind = OpKind::kScale, .out = list_.logits, .factor = a_.logit_scale});
    if (a_.logit_softcap > 0) add({.kind = OpKind::kSoftcap, .out = list_.logits, .factor = a_.logit_softcap});
  }

  const Architecture a_;
  const Architecture* reader_;  // null: not an encoder
  std::string side_;            // of an encoder-decoder model, before the names of its weights
  OpList list_;
  int layer_ = -1;
  int x_ = kNoSlot, normed_ = kNoSlot, ffn_normed_ = kNoSlot, branch_ = kNoSlot, selected_ = kNoSlot;
  int qkv_ = kNoSlot, q_ = kNoSlot, k_ = kNoSlot, v_ = kNoSlot, attended_ = kNoSlot;
  int gate_up_ = kNoSlot, up_ = kNoSlot, gate_ = kNoSlot;
  // latent attention
  int q_low_ = kNoSlot, q_plain_ = kNoSlot, q_rotated_ = kNoSlot, k_rotated_ = kNoSlot, latent_q_ = kNoSlot,
      latent_q_plain_ = kNoSlot, latent_q_rotated_ = kNoSlot, latent_attended_ = kNoSlot,
      latent_attended_heads_ = kNoSlot, attended_heads_ = kNoSlot;
  // experts
  int router_logits_ = kNoSlot, expert_weights_ = kNoSlot, expert_ids_ = kNoSlot, expert_gate_ = kNoSlot,
      expert_gate_rows_ = kNoSlot, expert_up_ = kNoSlot, expert_up_rows_ = kNoSlot, expert_out_ = kNoSlot,
      expert_out_rows_ = kNoSlot, shared_gate_ = kNoSlot, shared_up_ = kNoSlot, shared_out_ = kNoSlot,
      shared_logit_ = kNoSlot, shared_weight_ = kNoSlot, shared_id_ = kNoSlot;
};

std::string_view op_name(OpKind kind) {
  static constexpr std::string_view kNames[] = {
      "embed",           "position_embed", "type_embed", "norm",    "linear",  "rope",  "attention",
      "cross_attention", "store",          "activate",   "gated",   "scale",   "add",   "layer_end",
      "select_rows",     "softcap",        "route",      "grouped", "combine", "assign"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace

OpList lower(const Architecture& architecture) { return Builder(architecture, nullptr).build(); }

OpList lower_encoder(const Architecture& architecture) {
  return Builder(encoder_of(architecture), &architecture).build();
}

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
