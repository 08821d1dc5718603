#include "reference/fake_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <stdexcept>

namespace lathe::test {

using kernels::AttentionParams;
using kernels::AttentionSequence;
using kernels::DeviceBuffer;
using kernels::DeviceTensor;
using kernels::GroupedCall;
using kernels::KvLayout;
using kernels::KvRun;
using kernels::LinearCall;
using kernels::PreparedLinear;
using kernels::PreparedTable;
using kernels::RouterParams;
using kernels::Stream;

struct FakeBackend::Allocation {
  DeviceBuffer buffer;  // the inner backend's
  std::uint64_t bytes;
};

struct FakeBackend::State {
  std::map<const char*, Allocation> allocations;  // by handed-out address
};

FakeBackend::FakeBackend(std::shared_ptr<kernels::Backend> inner)
    : inner_(std::move(inner)), state_(std::make_shared<State>()) {}

DeviceBuffer FakeBackend::allocate(std::uint64_t bytes) {
  const std::uint64_t reserved = std::max<std::uint64_t>(bytes, 1);
  void* address = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) throw std::runtime_error("no address space");
  state_->allocations[static_cast<const char*>(address)] = {inner_->allocate(bytes), bytes};
  const auto state = state_;
  return {std::shared_ptr<void>(address,
                                [state, reserved](void* freed) {
                                  state->allocations.erase(static_cast<const char*>(freed));
                                  ::munmap(freed, reserved);
                                }),
          bytes};
}

void* FakeBackend::real(const void* address, std::uint64_t bytes) const {
  if (address == nullptr) return nullptr;
  const char* at = static_cast<const char*>(address);
  auto it = state_->allocations.upper_bound(at);
  if (it == state_->allocations.begin()) throw std::logic_error("an address that was never handed out");
  --it;
  const std::uint64_t offset = static_cast<std::uint64_t>(at - it->first);
  if (offset > it->second.bytes || bytes > it->second.bytes - offset) {
    throw std::logic_error("bytes [" + std::to_string(offset) + ", +" + std::to_string(bytes) +
                           ") of an allocation of " + std::to_string(it->second.bytes));
  }
  return static_cast<char*>(it->second.buffer.data()) + offset;
}

DeviceTensor FakeBackend::real(DeviceTensor tensor) const {
  if (tensor.stride < tensor.cols) throw std::logic_error("rows overlap");
  const std::uint64_t elements = tensor.rows == 0 ? 0 : (tensor.rows - 1) * tensor.stride + tensor.cols;
  tensor.data = real(static_cast<const void*>(tensor.data), elements * dtype_bytes(tensor.dtype));
  return tensor;
}

std::vector<void*> FakeBackend::real_blocks(const KvLayout& layout, std::span<void* const> blocks, std::uint64_t begin,
                                            std::uint64_t end) const {
  std::vector<void*> translated(blocks.size());
  for (std::uint64_t block = begin / layout.block_tokens; block * layout.block_tokens < end; ++block) {
    if (block >= blocks.size() || blocks[block] == nullptr) throw std::logic_error("a slot without a block");
    translated[block] = real(static_cast<const void*>(blocks[block]), kv_block_bytes(layout));
  }
  return translated;
}

void FakeBackend::upload(Stream& stream, void* target, const void* source, std::uint64_t bytes) {
  log.push_back("upload");
  inner_->upload(stream, real(static_cast<const void*>(target), bytes), source, bytes);
}

void FakeBackend::download(Stream& stream, void* target, const void* source, std::uint64_t bytes) {
  log.push_back("download");
  inner_->download(stream, target, real(source, bytes), bytes);
}

void FakeBackend::copy(Stream& stream, void* target, const void* source, std::uint64_t bytes) {
  log.push_back("copy");
  inner_->copy(stream, real(static_cast<const void*>(target), bytes), real(source, bytes), bytes);
}

void FakeBackend::synchronize(Stream& stream) {
  log.push_back("synchronize");
  inner_->synchronize(stream);
}

std::shared_ptr<const PreparedLinear> FakeBackend::prepare(const Linear& linear) { return inner_->prepare(linear); }

std::shared_ptr<const PreparedTable> FakeBackend::prepare_table(const PackedTensor& table) {
  return inner_->prepare_table(table);
}

void FakeBackend::embed(Stream& stream, DeviceTensor out, const PreparedTable& table, const std::int32_t* ids,
                        float scale, bool accumulate) {
  log.push_back("embed");
  inner_->embed(stream, real(out), table, real(ids, out.rows), scale, accumulate);
}

void FakeBackend::linear(Stream& stream, DeviceTensor x, std::span<const LinearCall> calls) {
  log.push_back("linear " + std::to_string(calls.size()));
  std::vector<LinearCall> translated(calls.begin(), calls.end());
  for (LinearCall& call : translated) call.out = real(call.out);
  inner_->linear(stream, real(x), translated);
}

void FakeBackend::grouped_linear(Stream& stream, DeviceTensor x, const std::int32_t* choice,
                                 std::span<const GroupedCall> calls) {
  log.push_back("grouped_linear " + std::to_string(calls.size()));
  std::vector<GroupedCall> translated(calls.begin(), calls.end());
  for (GroupedCall& call : translated) call.out = real(call.out);
  inner_->grouped_linear(stream, real(x), real(choice, calls.empty() ? 0 : calls.front().out.rows), translated);
}

void FakeBackend::route(Stream& stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
                        DeviceTensor logits) {
  log.push_back("route");
  RouterParams own = params;
  own.correction = real(params.correction, logits.cols);
  inner_->route(stream, own, real(weights), real(experts), real(logits));
}

void FakeBackend::combine(Stream& stream, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) {
  log.push_back("combine");
  inner_->combine(stream, real(out), real(x), real(weights), accumulate);
}

void FakeBackend::low_rank(Stream& stream, DeviceTensor out, DeviceTensor x, const PreparedLinear& a,
                           const PreparedLinear& b, float scale, std::span<const std::uint32_t> rows) {
  log.push_back("low_rank");
  inner_->low_rank(stream, real(out), real(x), a, b, scale, rows);
}

void FakeBackend::norm(Stream& stream, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight,
                       const float* bias, std::uint64_t weight_size, float eps) {
  log.push_back("norm");
  inner_->norm(stream, kind, real(out), real(x), real(weight, weight_size), real(bias, weight_size), weight_size, eps);
}

void FakeBackend::rope_table(Stream& stream, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                             std::uint64_t n_freq, float mscale) {
  log.push_back("rope_table");
  inner_->rope_table(stream, real(table), real(positions, table.rows), real(inv_freq, n_freq), n_freq, mscale);
}

void FakeBackend::rope(Stream& stream, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) {
  log.push_back("rope");
  inner_->rope(stream, real(x), real(table), head_dim, layout);
}

std::uint64_t FakeBackend::kv_block_bytes(const KvLayout& layout) const { return inner_->kv_block_bytes(layout); }

void FakeBackend::kv_append(Stream& stream, const KvLayout& layout, std::span<void* const> blocks,
                            std::uint64_t first_slot, DeviceTensor k, DeviceTensor v) {
  log.push_back("kv_append");
  inner_->kv_append(stream, layout, real_blocks(layout, blocks, first_slot, first_slot + k.rows), first_slot, real(k),
                    real(v));
}

void FakeBackend::kv_keys(Stream& stream, const KvLayout& layout, std::span<void* const> blocks,
                          std::uint64_t first_slot, DeviceTensor out) {
  log.push_back("kv_keys");
  inner_->kv_keys(stream, layout, real_blocks(layout, blocks, first_slot, first_slot + out.rows), first_slot,
                  real(out));
}

void FakeBackend::attention(Stream& stream, const KvLayout& layout, const AttentionParams& params, DeviceTensor out,
                            DeviceTensor q, std::span<const AttentionSequence> sequences) {
  log.push_back("attention " + std::to_string(sequences.size()));
  std::vector<AttentionSequence> translated(sequences.begin(), sequences.end());
  std::vector<std::vector<KvRun>> runs;
  std::vector<std::vector<void*>> blocks;
  for (AttentionSequence& sequence : translated) {
    std::vector<KvRun> own(sequence.runs.begin(), sequence.runs.end());
    std::uint64_t slots = 0;
    for (KvRun& run : own) {
      blocks.push_back(real_blocks(layout, run.blocks, run.begin, run.end));
      run.blocks = blocks.back();  // the heap memory stays where it is when `blocks` grows
      slots += run.far ? 0 : run.end - run.begin;
    }
    runs.push_back(std::move(own));
    sequence.runs = runs.back();
    sequence.mass = real(sequence.mass, slots + (params.n_heads - 1) * sequence.mass_stride);
  }
  AttentionParams own = params;
  own.alibi_slopes = real(params.alibi_slopes, params.n_heads);
  own.relative_bias = real(params.relative_bias,
                           std::uint64_t{params.n_heads} * (2 * static_cast<std::uint64_t>(params.relative_span) + 1));
  own.sinks = real(params.sinks, params.n_heads);
  if (params.far_q.data != nullptr) own.far_q = real(params.far_q);
  inner_->attention(stream, layout, own, real(out), real(q), translated);
}

void FakeBackend::activate(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor x) {
  log.push_back("activate");
  inner_->activate(stream, kind, real(out), real(x));
}

void FakeBackend::gated(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up) {
  log.push_back("gated");
  inner_->gated(stream, kind, real(out), real(gate), real(up));
}

void FakeBackend::gated_clamped(Stream& stream, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit) {
  log.push_back("gated_clamped");
  inner_->gated_clamped(stream, real(out), real(gate), real(up), limit);
}

void FakeBackend::assign(Stream& stream, DeviceTensor out, DeviceTensor x) {
  log.push_back("assign");
  inner_->assign(stream, real(out), real(x));
}

void FakeBackend::add(Stream& stream, DeviceTensor out, DeviceTensor a, DeviceTensor b) {
  log.push_back("add");
  inner_->add(stream, real(out), real(a), real(b));
}

void FakeBackend::scale(Stream& stream, DeviceTensor x, float factor) {
  log.push_back("scale");
  inner_->scale(stream, real(x), factor);
}

void FakeBackend::softcap(Stream& stream, DeviceTensor x, float cap) {
  log.push_back("softcap");
  inner_->softcap(stream, real(x), cap);
}

void FakeBackend::gather_rows(Stream& stream, DeviceTensor out, DeviceTensor x, std::span<const std::uint32_t> rows) {
  log.push_back("gather_rows");
  inner_->gather_rows(stream, real(out), real(x), rows);
}

void FakeBackend::argmax(Stream& stream, std::int32_t* out, DeviceTensor x) {
  log.push_back("argmax");
  inner_->argmax(stream, real(out, x.rows), real(x));
}

}  // namespace lathe::test
