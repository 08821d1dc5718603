#include "formats/mxfp4_experts.h"

#include <cstring>
#include <memory>

#include "tensor/codecs/fp4.h"

namespace lathe::formats {
namespace {

constexpr std::uint64_t kBlock = 32, kCodeBytes = 16;

struct ExpertArrays {
  std::string_view name;         // of the arrays, without the layer
  std::string_view matrices[2];  // whose rows alternate; the second may be empty
};
constexpr ExpertArrays kExpertArrays[] = {{"ffn_gate_up", {"ffn_gate", "ffn_up"}}, {"ffn_down", {"ffn_down", ""}}};

// Checkpoints have two neighbouring weights in a byte, GGUF weights 16 apart; the first is in the low bits in both.
BlockMXFP4 block_of(const std::uint8_t* codes, std::uint8_t scale) {
  const auto code = [&](std::size_t i) { return codes[i / 2] >> (i % 2 * 4) & 15; };
  BlockMXFP4 block{scale, {}};
  for (std::size_t j = 0; j < kCodeBytes; ++j)
    block.qs[j] = static_cast<std::uint8_t>(code(j) | code(j + kCodeBytes) << 4);
  return block;
}

class Splitter {
 public:
  Splitter(const arch::Architecture& a, arch::Weights& weights, const std::string& where)
      : a_(a), weights_(weights), where_(where) {}

  void split(const std::string& layer, const ExpertArrays& stack, std::uint64_t out, std::uint64_t in) {
    const std::uint64_t parts = stack.matrices[1].empty() ? 1 : 2, rows = parts * out, blocks = in / kBlock;
    const std::string name = layer + std::string(stack.name);
    if (weights_.find(name + "_blocks") == nullptr) return;
    if (in % kBlock != 0) fail(where_, "rows of {} weights of \"{}\" are no whole blocks of {}", in, name, kBlock);
    const std::uint64_t experts = a_.moe.n_experts;
    const PackedTensor codes = take(name + "_blocks", Shape{experts, rows, blocks, kCodeBytes});
    const PackedTensor scales = take(name + "_scales", Shape{experts, rows, blocks});
    const PackedTensor bias = take(name + "_bias", Shape{experts, rows});
    for (std::uint64_t expert = 0; expert < experts; ++expert) {
      for (std::uint64_t part = 0; part < parts; ++part) {
        const std::string matrix = fmt::format("{}{}.{}", layer, stack.matrices[part], expert);
        if (codes.parts.empty()) {
          weights_.add({matrix + ".weight", &codec_named("MXFP4"), {}, Shape{out, in}, {}});
          weights_.add({matrix + ".bias", &codec_named("F32"), {}, Shape{out}, {}});
          continue;
        }
        add(matrix, codes, scales, bias, {expert * rows + part, parts, out, in});
      }
    }
  }

 private:
  // Rows first, first + step, ... of the arrays.
  struct Rows {
    std::uint64_t first, step, count, in;
  };

  PackedTensor take(const std::string& name, const Shape& shape) {
    const PackedTensor* found = weights_.find(name);
    if (found == nullptr) fail(where_, "tensor \"{}\" is missing", name);
    if (!(found->shape == shape))
      fail(where_, "tensor \"{}\" has shape {}, expected {}", name, found->shape.text(), shape.text());
    PackedTensor tensor = *found;
    weights_.remove(name);
    return tensor;
  }

  void add(const std::string& name, const PackedTensor& codes, const PackedTensor& scales, const PackedTensor& bias,
           const Rows& rows) {
    const std::uint64_t blocks = rows.in / kBlock;
    const auto* code = reinterpret_cast<const std::uint8_t*>(codes.part("blocks").data());
    const auto* scale = reinterpret_cast<const std::uint8_t*>(scales.part("blocks").data());
    auto buffer = std::make_shared<std::vector<std::byte>>(rows.count * blocks * sizeof(BlockMXFP4));
    std::vector<float> biases(rows.count);
    std::byte* target = buffer->data();
    for (std::uint64_t row = 0; row < rows.count; ++row) {
      const std::uint64_t from = rows.first + row * rows.step;
      for (std::uint64_t block = from * blocks; block < (from + 1) * blocks; ++block) {
        const BlockMXFP4 packed = block_of(code + block * kCodeBytes, scale[block]);
        std::memcpy(target, &packed, sizeof packed);
        target += sizeof packed;
      }
      const std::uint64_t cols = bias.shape.cols();
      bias.codec->decode_row(bias, from / cols, from % cols, std::span(&biases[row], 1));
    }
    const std::string weight = name + ".weight";
    weights_.add(
        packed_blocks(weight, codec_named("MXFP4"), Shape{rows.count, rows.in}, Bytes(*buffer, weight, buffer)));
    weights_.add(pack(name + ".bias", codec_named("F32"), Shape{rows.count}, biases));
  }

  const arch::Architecture& a_;
  arch::Weights& weights_;
  const std::string& where_;
};

}  // namespace

void split_mxfp4_experts(const arch::Architecture& a, arch::Weights& weights, const std::string& where) {
  Splitter splitter(a, weights, where);
  for (std::uint32_t layer = 0; a.moe.n_experts > 0 && layer < a.n_layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    splitter.split(block, kExpertArrays[0], a.moe.ffn_width, a.width);
    splitter.split(block, kExpertArrays[1], a.width, a.moe.ffn_width);
  }
}

}  // namespace lathe::formats
