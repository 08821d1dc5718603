// Where the numbers of a KV block lie on the CPU. Keys are stored transposed, so that a vector holds one dimension of
// several tokens and scores need no horizontal sums; values are stored token by token. A block is
//   keys   [n_kv_heads][k_dim][slots]       with slots = block_tokens rounded up to kKvPad
//   values [n_kv_heads][block_tokens][v_pad] with v_pad = v_dim rounded up to kKvPad
//   for int8: key scales, then value scales, f32 [n_kv_heads][slots] each
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked.h"
#include "kernels/attention.h"

namespace lathe::kernels::cpu {

// The widest vector of floats: padding to it lets kernels load whole vectors everywhere.
inline constexpr std::uint64_t kKvPad = 16;

struct KvGeometry {
  std::uint64_t element_bytes = 0;
  std::uint64_t slots = 0, v_pad = 0;                      // padded extents
  std::uint64_t key_head_bytes = 0, value_head_bytes = 0;  // one head's share
  std::uint64_t values_offset = 0, key_scales_offset = 0, value_scales_offset = 0, bytes = 0;

  explicit KvGeometry(const KvLayout& layout) {
    const auto pad = [](std::uint64_t n) { return (n + kKvPad - 1) / kKvPad * kKvPad; };
    const auto mul = [](std::uint64_t a, std::uint64_t b) { return checked_mul(a, b, "the size of a KV block"); };
    const auto add = [](std::uint64_t a, std::uint64_t b) { return checked_add(a, b, "the size of a KV block"); };
    element_bytes = layout.codec == KvCodec::kF32 ? 4 : layout.codec == KvCodec::kF16 ? 2 : 1;
    slots = pad(layout.block_tokens);
    v_pad = pad(layout.v_dim);
    key_head_bytes = mul(mul(layout.k_dim, slots), element_bytes);
    value_head_bytes = mul(mul(layout.block_tokens, v_pad), element_bytes);
    values_offset = align(mul(key_head_bytes, layout.n_kv_heads));
    key_scales_offset = align(add(values_offset, mul(value_head_bytes, layout.n_kv_heads)));
    const std::uint64_t scales = layout.codec == KvCodec::kI8 ? mul(mul(layout.n_kv_heads, slots), sizeof(float)) : 0;
    value_scales_offset = align(add(key_scales_offset, scales));
    bytes = align(add(value_scales_offset, scales));
  }

  // Key element (d, slot) of `head` is keys(...)[d * slots + slot] in elements.
  std::byte* keys(void* block, std::uint64_t head) const { return at(block, head * key_head_bytes); }
  // Value element (slot, d) of `head` is values(...)[slot * v_pad + d] in elements.
  std::byte* values(void* block, std::uint64_t head) const {
    return at(block, values_offset + head * value_head_bytes);
  }
  float* key_scales(void* block, std::uint64_t head) const {
    return reinterpret_cast<float*>(at(block, key_scales_offset)) + head * slots;
  }
  float* value_scales(void* block, std::uint64_t head) const {
    return reinterpret_cast<float*>(at(block, value_scales_offset)) + head * slots;
  }

 private:
  static std::uint64_t align(std::uint64_t n) { return (checked_add(n, 63, "the size of a KV block")) / 64 * 64; }
  static std::byte* at(void* block, std::uint64_t offset) { return static_cast<std::byte*>(block) + offset; }
};

}  // namespace lathe::kernels::cpu
