// Models of a given shape with seeded random weights, for benchmarks and tests: real files that any engine loads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "arch/architecture.h"
#include "formats/metadata.h"

namespace lathe::formats {

struct SynthPreset {
  std::string name;
  std::string description;
  arch::Architecture architecture;
};

// "llama-1b", "llama-7b", "llama-tiny", "gpt2", ...
const std::vector<SynthPreset>& synth_presets();
// Throws an Error that lists the presets.
arch::Architecture synth_preset(std::string_view name);

struct SynthOptions {
  std::string codec = "Q4_0";  // of matrices, or a mix (arch/codec_mix.h); norms and biases are F32
  std::uint64_t seed = 1;
  std::uint64_t split_bytes = 0;
};

struct SynthResult {
  std::uint64_t parameters = 0, bytes = 0;
};

// Writes a GGUF file, or the layout that `path` implies. Matrices are normal with standard deviation 1 / sqrt(inputs),
// so that activations and logits keep a sane size through every layer; the same seed gives the same bytes. GGUF files
// are written tensor by tensor: memory stays at the largest tensor.
SynthResult synthesize(const arch::Architecture& architecture, const std::filesystem::path& path,
                       const SynthOptions& options = {});

// The vocabulary of a synthetic model as tokenizer.ggml.* keys: SentencePiece's control and byte tokens and distinct
// made-up pieces for Llama shapes, GPT-2's byte alphabet and merges for GPT-2 shapes.
void synth_vocabulary(const arch::Architecture& architecture, std::uint64_t seed, Metadata& metadata);

}  // namespace lathe::formats
