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

void Model::prepare(PreparedOp& prepared, const arch::Weights& weights, kernels::Stream& stream) {
  const arch::Op& op = *prepared.op;
  for (const arch::LinearUse& use : op.linears) {
    auto& shared = linears_[use.weight];
    if (shared == nullptr) {
      Linear linear;
      linear.weight = weights.at(use.weight + ".weight");
      if (use.has_bias) linear.bias = finite_floats(weights.at(use.weight + ".bias"));
      shared = backend_->prepare(linear);
    }
    bytes_per_token_ += shared->bytes();
    prepared.linears.push_back(shared);
  }
  if (op.kind == arch::OpKind::kEmbed || op.kind == arch::OpKind::kPositionEmbed) {
    const PackedTensor& table = weights.at(op.weight + ".weight");
    prepared.table = backend_->prepare_table(table);
    bytes_per_token_ += table.bytes() / std::max<std::uint64_t>(1, table.shape.rows());
  }
  if (op.kind == arch::OpKind::kNorm || op.kind == arch::OpKind::kHeadNorm) {
    prepared.weight = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".weight")));
    if (op.has_bias) prepared.bias = backend_->upload_floats(stream, finite_floats(weights.at(op.weight + ".bias")));
  }
}

}  // namespace lathe::model
