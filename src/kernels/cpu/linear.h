// Linear layers on the CPU: the weight in place (mapped) or in tiles, its kernel, and groups of products that share an
// input.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/stream.h"

namespace lathe::kernels::cpu {

class CpuLinear final : public PreparedLinear {
 public:
  // Packs the weight where its kernel wants tiles, and then holds on to the file's bytes no longer.
  CpuLinear(Linear linear, const KernelSet& kernels, ThreadPool& pool, Arena& arena, const ByteCounter& counter);

  std::uint64_t out_features() const override { return linear_.out_features(); }
  std::uint64_t in_features() const override { return linear_.in_features(); }
  std::string_view codec() const override { return linear_.weight.codec->name(); }
  std::string_view kernel() const override { return kernel_name_; }
  std::uint64_t bytes() const override { return bytes_; }

  // As the kernel reads it: the input's permutation and scale are in the order of the kernel's columns.
  const Linear& linear() const { return linear_; }
  const Matmul& matmul() const { return matmul_; }
  // Everything of a job but its input and output.
  MatmulJob job() const;

 private:
  Linear linear_;
  Matmul matmul_;
  std::string kernel_name_;
  std::uint64_t bytes_;
  std::shared_ptr<std::byte> tiles_;  // nullptr: the weight is in place
  ByteCharge charge_;

  std::shared_ptr<std::byte> pack(ThreadPool& pool, Arena& arena);
};

// Every call's product with x, as one parallel loop over all output features.
void run_linear(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, DeviceTensor x,
                std::span<const LinearCall> calls);

}  // namespace lathe::kernels::cpu
