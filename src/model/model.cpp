#include "model/model.h"

#include <cmath>

#include "base/error.h"

namespace lathe::model {
namespace {

std::vector<float> finite_floats(const PackedTensor& tensor) {
  std::vector<float> values = tensor.to_floats();
  for (const float value : values) {
    if (!std::isfinite(value)) fail(tensor.name, "holds NaN or infinity");
  }
  return values;
}

}  // namespace

Model::Model(arch::Architecture architecture, const arch::Weights& weights, std::shared_ptr<kernels::Backend> backend)
    : architecture_(std::move(architecture)), backend_(std::move(backend)) {
  arch::validate(architecture_, architecture_.family);
  arch::check_weights(architecture_, weights, architecture_.family);
  list_ = arch::lower(architecture_);
  const auto stream = backend_->make_stream();
  ops_.reserve(list_.ops.size());
  for (const arch::Op& op : list_.ops) {
    ops_.push_back({&op});
    prepare(ops_.back(), weights, *stream);
  }
  backend_->synchronize(*stream);
  parameters_ = weights.parameters();
}

std::shared_ptr<const kernels::PreparedLinear> Model::prepare_linear(const std::string& name, bool has_bias,
                                                                     const arch::Weights& weights) {
  auto& shared = linears_[name];
  if (shared == nullptr) {
    Linear linear;
    linear.weight = weights.at(name + ".weight");
    if (has_bias) linear.bias = finite_floats(weights.at(name + ".bias"));
    shared = backend_->prepare(linear);
  }
  return shared;
}

void Model::prepare(PreparedOp& prepared, const arch::Weights& weights, kernels::Stream& stream) {
  const arch::Op& op = *prepared.op;
  for (const arch::LinearUse& use : op.linears) {
    if (use.matrices == 0) {
      prepared.linears.push_back(prepare_linear(use.weight, use.has_bias, weights));
      bytes_per_token_ += prepared.linears.back()->bytes();
      continue;
    }
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < use.matrices; ++i) {
      prepared.linears.push_back(prepare_linear(fmt::format("{}.{}", use.weight, i), use.has_bias, weights));
      bytes += prepared.linears.back()->bytes();
    }
    // A row of the output for each matrix that a token takes.
    bytes_per_token_ += bytes / use.matrices * list_.slots[static_cast<std::size_t>(use.out)].heads;
  }
  if (op.kind == arch::OpKind::kEmbed || op.kind == arch::OpKind::kPositionEmbed ||
      op.kind == arch::OpKind::kTypeEmbed) {
    const PackedTensor& stored = weights.at(op.weight + ".weight");
    const PackedTensor table = stored.rows(op.position_offset, stored.shape.rows());
    prepared.table = backend_->prepare_table(table);
    bytes_per_token_ += table.bytes() / std::max<std::uint64_t>(1, table.shape.rows());
  }
  if (op.kind == arch::OpKind::kNorm) {
    prepared.weight = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".weight")));
    if (op.has_bias) prepared.bias = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".bias")));
  }
  if (op.attention.sinks) {
    prepared.weight = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".weight")));
  }
  if (op.router.correction) {
    prepared.bias = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".bias")));
  }
}

}  // namespace lathe::model
