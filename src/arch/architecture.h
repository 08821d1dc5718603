// A model's architecture as plain data. GGUF metadata and a Hugging Face config.json are two spellings of this struct;
// lower() (arch/lower.h) turns it into the list of operations that every executor walks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/op_kinds.h"

namespace lathe::arch {

enum class PositionKind : std::uint8_t { kNone, kRope, kLearned, kAlibi };

// How rotary frequencies are stretched beyond the trained context; see arch/rope.h for the formulas and their sources.
struct RopeScaling {
  enum class Kind : std::uint8_t { kNone, kLinear, kDynamicNtk, kYarn, kLlama3, kLongRope, kFactors };
  Kind kind = Kind::kNone;
  float factor = 1;
  std::uint32_t original_context = 0;               // the context length the frequencies were trained for
  float attention_factor = 0;                       // multiplies cos and sin; 0 = the kind's own default
  float beta_fast = 32, beta_slow = 1;              // YaRN
  float low_freq_factor = 1, high_freq_factor = 4;  // Llama 3
  std::vector<float> short_factors, long_factors;   // LongRope (both), kFactors (short only): divide each frequency
  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

struct Architecture {
  std::string family;  // a row of arch/families.h: "llama", "gpt2"
  std::string name;    // what its makers call it; may be empty

  std::uint32_t n_layers = 0;
  std::uint32_t width = 0;  // of the residual stream
  std::uint32_t n_heads = 0, n_kv_heads = 0;
  std::uint32_t head_dim = 0;  // of queries and keys
  std::uint32_t v_head_dim = 0;
  std::uint32_t ffn_width = 0;
  std::uint32_t vocab_size = 0;
  std::uint32_t context_length = 0;  // trained for

  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  PositionKind position = PositionKind::kRope;
  RopeLayout rope_layout = RopeLayout::kHalves;
  std::uint32_t rotary_dim = 0;  // elements of a head that rotate
  float rope_theta = 10000;
  RopeScaling rope_scaling;

  ActivationKind activation = ActivationKind::kSilu;
  bool gated_ffn = true;         // down(act(gate(x)) * up(x)), otherwise down(act(up(x)))
  bool fused_qkv = false;        // one weight [q + k + v, width]
  bool tied_embeddings = false;  // the output head is the token embedding
  bool attention_bias = false;   // q, k, v have biases
  bool output_bias = false;      // the attention's output projection has one
  bool ffn_bias = false;
  bool norm_bias = false;
  bool qk_norm = false;  // RMS norm of each query and key head before RoPE

  std::uint32_t window = 0;     // > 0: sliding-window attention on every layer
  float attention_scale = 0;    // 0: 1 / sqrt(head_dim)
  float attention_softcap = 0;  // 0: none
  float logit_softcap = 0;
  float embedding_scale = 1, residual_scale = 1, logit_scale = 1;

  friend bool operator==(const Architecture&, const Architecture&) = default;

  std::uint32_t q_width() const { return n_heads * head_dim; }
  std::uint32_t k_width() const { return n_kv_heads * head_dim; }
  std::uint32_t v_width() const { return n_kv_heads * v_head_dim; }
};

// Throws an Error naming `where` unless every size is positive, bounded (kMax*) and consistent: heads divide into
// groups, rotary_dim is even and fits, factors are finite, ...
void validate(const Architecture& architecture, std::string_view where);

// Bounds on what a file may ask for, far above any real model.
inline constexpr std::uint32_t kMaxLayers = 4096, kMaxWidth = 1 << 20, kMaxHeads = 1 << 14, kMaxVocab = 1 << 24,
                               kMaxContext = 1 << 28;

}  // namespace lathe::arch
