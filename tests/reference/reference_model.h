// A plain forward pass in double precision for every family: loops over decoded weights, the full
// attention matrix, formulas as published. It shares nothing with the executor but the Architecture struct, so that a
// mistake in either shows up as a difference.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "arch/architecture.h"

namespace lathe::test {

// Decoded weights by canonical name ("blk.0.attn_q.weight"), row-major.
using NamedFloats = std::map<std::string, std::vector<float>, std::less<>>;

struct ReferenceResult {
  std::uint64_t rows = 0;
  std::vector<std::vector<double>> layers;  // residual stream after each layer, [rows, width]
  std::vector<double> hidden;               // after the final norm, [rows, width]
  std::vector<double> logits;               // [rows, vocab]
  std::vector<double> encoded;              // what the encoder made of the source, [source rows, width]
};

// All of `ids` at positions 0, 1, ...; `context` is the session's (some RoPE scalings depend on it). With int8_group >
// 0 the input of every matrix product is rounded to 8 bits with a scale per so many elements, as llama2.c's 8-bit
// program does. With far_window > 0 (models whose only positions are RoPE's) tokens at least that far back count as
// far_window - 1 away, as in InfLLM.
ReferenceResult reference_forward(const arch::Architecture& architecture, const NamedFloats& weights,
                                  std::span<const std::int32_t> ids, std::uint32_t context, std::size_t int8_group = 0,
                                  std::size_t far_window = 0);

// An encoder-decoder model: the logits of every token of `target` given `source`.
ReferenceResult reference_translation(const arch::Architecture& architecture, const NamedFloats& weights,
                                      std::span<const std::int32_t> source, std::span<const std::int32_t> target);

// The angle a position advances frequency i by (radians), and the factor on cosine and sine, under every scaling rule.
double reference_rope_frequency(const arch::Architecture& architecture, std::uint32_t i, std::uint32_t context);
double reference_rope_magnitude(const arch::Architecture& architecture);

double reference_activation(ActivationKind kind, double x);

}  // namespace lathe::test
