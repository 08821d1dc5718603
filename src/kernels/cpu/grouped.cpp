#include "kernels/cpu/grouped.h"

#include <cstring>
#include <vector>

#include "kernels/cpu/linear.h"

namespace lathe::kernels::cpu {
namespace {

float* row_of(const DeviceTensor& tensor, std::size_t row) {
  return static_cast<float*>(tensor.data) + row * tensor.stride;
}

// Rows [begin, begin + count * step) of a tensor, every step-th.
DeviceTensor every(const DeviceTensor& tensor, std::size_t begin, std::size_t step) {
  return {row_of(tensor, begin), (tensor.rows - begin + step - 1) / step, tensor.cols, tensor.stride * step,
          tensor.dtype};
}

// Output rows by matrix: rows[first[m] .. first[m + 1]) chose matrix m.
struct Groups {
  std::vector<std::size_t> first, rows;
};

Groups group_rows(const std::int32_t* choice, std::size_t rows, std::size_t matrices) {
  Groups groups;
  groups.first.assign(matrices + 1, 0);
  groups.rows.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) ++groups.first[static_cast<std::size_t>(choice[i]) + 1];
  for (std::size_t m = 0; m < matrices; ++m) groups.first[m + 1] += groups.first[m];
  std::vector<std::size_t> next(groups.first.begin(), groups.first.end() - 1);
  for (std::size_t i = 0; i < rows; ++i) groups.rows[next[static_cast<std::size_t>(choice[i])]++] = i;
  return groups;
}

// A matrix per head: its rows lie evenly apart, so they need not move.
void run_heads(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, DeviceTensor x,
               std::span<const GroupedCall> calls) {
  const std::size_t matrices = calls.front().weights.size();
  for (std::size_t m = 0; m < matrices && m < x.rows; ++m) {
    std::vector<LinearCall> own;
    for (const GroupedCall& call : calls) own.push_back({call.weights[m], every(call.out, m, matrices), false});
    run_linear(pool, kernels, stream, every(x, m, matrices), own);
  }
}

}  // namespace

void run_grouped_linear(ThreadPool& pool, const KernelSet& kernels, CpuStream& stream, DeviceTensor x,
                        const std::int32_t* choice, std::span<const GroupedCall> calls) {
  if (x.rows == 0 || calls.empty()) return;
  if (choice == nullptr) return run_heads(pool, kernels, stream, x, calls);
  const std::size_t out_rows = calls.front().out.rows, per_row = out_rows / x.rows;
  const Groups groups = group_rows(choice, out_rows, calls.front().weights.size());
  for (std::size_t m = 0; m + 1 < groups.first.size(); ++m) {
    const std::size_t count = groups.first[m + 1] - groups.first[m];
    if (count == 0) continue;
    const std::size_t* rows = groups.rows.data() + groups.first[m];
    // One row stays where it is; several are brought together, and their results taken apart again.
    const bool alone = count == 1;
    DeviceTensor in = x.slice_rows(rows[0] / per_row, 1);
    if (!alone) {
      in = DeviceTensor::dense(stream.grouped_in.get<float>(count * x.cols), count, x.cols);
      for (std::size_t i = 0; i < count; ++i)
        std::memcpy(row_of(in, i), row_of(x, rows[i] / per_row), x.cols * sizeof(float));
    }
    std::size_t columns = 0;
    for (const GroupedCall& call : calls) columns += call.out.cols;
    float* results = alone ? nullptr : stream.grouped_out.get<float>(count * columns);
    std::vector<LinearCall> own;
    for (const GroupedCall& call : calls) {
      const DeviceTensor out =
          alone ? call.out.slice_rows(rows[0], 1) : DeviceTensor::dense(results, count, call.out.cols);
      own.push_back({call.weights[m], out, false});
      if (!alone) results += count * call.out.cols;
    }
    run_linear(pool, kernels, stream, in, own);
    if (alone) continue;
    for (std::size_t c = 0; c < calls.size(); ++c) {
      for (std::size_t i = 0; i < count; ++i)
        std::memcpy(row_of(calls[c].out, rows[i]), row_of(own[c].out, i), calls[c].out.cols * sizeof(float));
    }
  }
}

}  // namespace lathe::kernels::cpu
