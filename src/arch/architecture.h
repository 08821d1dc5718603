// A model's architecture as plain data. GGUF metadata and a Hugging Face config.json are two spellings of this struct;
// lower() (arch/lower.h) turns it into the list of operations that every executor walks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/op_kinds.h"

namespace lathe::arch {

enum class PositionKind : std::uint8_t { kNone, kRope, kLearned, kAlibi, kRelative, kSinusoidal };

// How rotary frequencies are stretched beyond the trained context; see arch/rope.h for the formulas and their sources.
struct RopeScaling {
  enum class Kind : std::uint8_t { kNone, kLinear, kDynamicNtk, kYarn, kLlama3, kLongRope, kFactors };
  Kind kind = Kind::kNone;
  float factor = 1;
  std::uint32_t original_context = 0;               // the context length the frequencies were trained for
  float attention_factor = 0;                       // multiplies cos and sin; 0 = the kind's own default
  float beta_fast = 32, beta_slow = 1;              // YaRN
  bool truncate = true;                             // YaRN: the ramp's ends are whole frequencies
  float low_freq_factor = 1, high_freq_factor = 4;  // Llama 3
  std::vector<float> short_factors, long_factors;   // LongRope (both), kFactors (short only): divide each frequency
  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

// A mixture of experts in place of the feed-forward layer (Shazeer et al. 2017): a router picks `top_k` of `n_experts`
// for every token. Variants of the router are described at RouterScore (tensor/op_kinds.h).
struct MixtureOfExperts {
  std::uint32_t n_experts = 0;  // 0: no mixture
  std::uint32_t top_k = 0;
  std::uint32_t ffn_width = 0;           // of one expert
  std::uint32_t shared_ffn_width = 0;    // > 0: an expert every token takes (all shared ones side by side)
  bool shared_gate = false;              // the shared expert is weighed by sigmoid(gate . x)
  std::uint32_t first_dense_layers = 0;  // layers that keep a plain feed-forward layer of the model's ffn_width
  std::uint32_t n_groups = 1;            // experts compete in groups, of which only ...
  std::uint32_t top_groups = 1;          // ... so many take part (DeepSeek-V2, section 2.2.2)
  RouterScore score = RouterScore::kSoftmax;
  bool normalize = false;        // the chosen weights are divided by their sum
  float scale = 1;               // and multiplied by this
  bool correction_bias = false;  // added to the scores for choosing only (DeepSeek-V3, section 2.1.2)
  bool router_bias = false;      // added to the router's product
  bool expert_bias = false;      // experts have biases
  friend bool operator==(const MixtureOfExperts&, const MixtureOfExperts&) = default;
};

// Multi-head latent attention (DeepSeek-V2, section 2.1): keys and values are products of one cached latent.
struct LatentAttention {
  std::uint32_t kv_rank = 0;  // 0: ordinary attention
  std::uint32_t q_rank = 0;   // 0: queries come straight from the residual stream
  friend bool operator==(const LatentAttention&, const LatentAttention&) = default;
};

// Biases by distance, learned once and shared by all layers of a stack (arch/relative_bias.h).
struct RelativeBias {
  std::uint32_t buckets = 0;         // of distances; a head has a bias for each
  std::uint32_t max_distance = 128;  // beyond it all keys share the last bucket
  friend bool operator==(const RelativeBias&, const RelativeBias&) = default;
};

// What reads the source text of an encoder-decoder model (Vaswani et al. 2017; T5, Raffel et al. 2020): layers like the
// decoder's, whose tokens see each other in full. Every decoder layer attends to what comes out, between its attention
// to its own text and its feed-forward layer.
struct Encoder {
  std::uint32_t n_layers = 0;     // 0: there is no encoder
  std::uint32_t vocab_size = 0;   // 0: source texts have the decoder's tokens and embedding
  std::uint32_t start_token = 0;  // what every text of the decoder begins with
  friend bool operator==(const Encoder&, const Encoder&) = default;
};

struct Architecture {
  std::string family;  // a row of arch/families.h: "llama", "gpt2"
  std::string name;    // what its makers call it; may be empty

  std::uint32_t n_layers = 0;  // of the decoder, where there is an encoder
  std::uint32_t width = 0;     // of the residual stream
  std::uint32_t n_heads = 0, n_kv_heads = 0;
  std::uint32_t head_dim = 0;  // of queries and keys
  std::uint32_t v_head_dim = 0;
  std::uint32_t ffn_width = 0;
  std::uint32_t vocab_size = 0;
  std::uint32_t context_length = 0;  // trained for

  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  PositionKind position = PositionKind::kRope;
  std::uint32_t position_offset = 0;  // learned and sinusoidal positions: the first token's row
  RelativeBias relative;
  RopeLayout rope_layout = RopeLayout::kHalves;
  std::uint32_t rotary_dim = 0;  // elements of a head that rotate
  float rope_theta = 10000;
  RopeScaling rope_scaling;

  ActivationKind activation = ActivationKind::kSilu;
  float activation_limit = 0;    // > 0: gated layers are down((up' + 1) * gelu_quick(gate')), both clamped (gpt-oss)
  bool gated_ffn = true;         // down(act(gate(x)) * up(x)), otherwise down(act(up(x)))
  bool fused_gate_up = false;    // gate and up are one weight [2 * ffn, width]
  bool fused_qkv = false;        // one weight [q + k + v, width]
  bool tied_embeddings = false;  // the output head is the token embedding
  bool attention_bias = false;   // q, k, v have biases
  bool output_bias = false;      // the attention's output projection has one
  bool ffn_bias = false;
  bool norm_bias = false;
  bool head_bias = false;   // the output head has one
  bool output_head = true;  // false: there is none; the model makes vectors, not logits (encoders)
  bool qk_norm = false;     // RMS norm of each query and key head before RoPE

  bool parallel_block = false;   // attention and feed-forward read the same residual stream, and both join it
  bool ffn_norm = true;          // false, in parallel blocks: one norm feeds attention and feed-forward
  bool post_norms = false;       // norms on what attention and feed-forward return (Gemma 2)
  bool sub_norms = false;        // norms on what the last product of each branch reads (BitNet)
  bool embedding_norm = false;   // a norm on the token embedding (BLOOM)
  bool attention_sinks = false;  // a learned score per head that takes part in the softmax only (gpt-oss)
  bool causal = true;            // false: tokens see those after them too (encoders)
  bool stream_norms = false;     // norms on the residual stream after each branch has joined it, none before (BERT)
  // > 0: so many kinds of segment have a learned vector each, and every token gets that of the first kind (BERT)
  std::uint32_t token_types = 0;

  MixtureOfExperts moe;
  LatentAttention mla;
  Encoder encoder;

  std::uint32_t window = 0;       // > 0: sliding-window attention, on every layer but the full ones:
  std::vector<bool> full_layers;  // one entry per layer, or empty: layers that attend to everything all the same
  // > 0: layers with a window rotate with this base and without scaling (Gemma 3); 0: as the others do.
  float window_rope_theta = 0;
  float attention_scale = 0;    // 0: 1 / sqrt(head_dim)
  float attention_softcap = 0;  // 0: none
  float logit_softcap = 0;
  float embedding_scale = 1, residual_scale = 1, logit_scale = 1;

  // How the model's makers turn a text into one vector, and whether they scale it to unit length.
  PoolingKind pooling = PoolingKind::kMean;
  bool unit_vectors = false;

  friend bool operator==(const Architecture&, const Architecture&) = default;

  std::uint32_t q_width() const { return n_heads * head_dim; }
  std::uint32_t k_width() const { return n_kv_heads * head_dim; }
  std::uint32_t v_width() const { return n_kv_heads * v_head_dim; }

  // What may differ from layer to layer.
  std::uint32_t layer_window(std::uint32_t layer) const {
    return layer < full_layers.size() && full_layers[layer] ? 0 : window;
  }
  // Positions that have a vector each: no sequence is longer.
  bool positions_end() const { return position == PositionKind::kLearned || position == PositionKind::kSinusoidal; }
  bool layer_has_experts(std::uint32_t layer) const { return moe.n_experts > 0 && layer >= moe.first_dense_layers; }
};

// The encoder of an encoder-decoder model as a model of its own: tokens in, hidden states out.
Architecture encoder_of(const Architecture& architecture);

// Throws an Error naming `where` unless every size is positive, bounded (kMax*) and consistent: heads divide into
// groups, rotary_dim is even and fits, factors are finite, ...
void validate(const Architecture& architecture, std::string_view where);

// Bounds on what a file may ask for, far above any real model.
inline constexpr std::uint32_t kMaxLayers = 4096, kMaxWidth = 1 << 20, kMaxHeads = 1 << 14, kMaxVocab = 1 << 24,
                               kMaxContext = 1 << 28, kMaxBiases = 1 << 22, kMaxExperts = 1 << 12,
                               kMaxTokenTypes = 1 << 10,
                               kMaxMatrices = 1 << 16;  // of one kind in all layers: experts, heads of latent attention

}  // namespace lathe::arch
