#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "arch/relative_bias.h"
#include "arch/sinusoids.h"
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

PackedTensor position_vectors(std::uint64_t rows, std::uint64_t width) {
  return pack("positions", codec_named("F32"), Shape{rows, width}, arch::sinusoids(rows, width));
}

}  // namespace

struct Model::Preparation {
  const arch::Weights& weights;
  std::shared_ptr<kernels::Backend> backend;
  std::unique_ptr<kernels::Stream> stream;
  std::map<std::string, std::shared_ptr<const kernels::PreparedLinear>> linears;
  std::map<std::string, std::shared_ptr<const kernels::PreparedTable>> tables;

  std::shared_ptr<const kernels::PreparedLinear> linear(const std::string& name, bool has_bias) {
    auto& shared = linears[name];
    if (shared == nullptr) {
      Linear linear;
      linear.weight = weights.at(name + ".weight");
      if (has_bias) linear.bias = finite_floats(weights.at(name + ".bias"));
      shared = backend->prepare(linear);
    }
    return shared;
  }
  std::shared_ptr<const kernels::PreparedTable> table(const std::string& name, const PackedTensor& rows) {
    auto& shared = tables[name];
    if (shared == nullptr) shared = backend->prepare_table(rows);
    return shared;
  }
};

Model::Model(arch::Architecture architecture, const arch::Weights& weights, std::shared_ptr<kernels::Backend> backend)
    : architecture_(std::move(architecture)), backend_(std::move(backend)) {
  arch::validate(architecture_, architecture_.family);
  arch::check_weights(architecture_, weights, architecture_.family);
  Preparation preparation{weights, backend_, backend_->make_stream(), {}, {}};
  list_ = arch::lower(architecture_);
  prepare_all(preparation);
  if (architecture_.encoder.n_layers > 0) {
    encoder_ = std::shared_ptr<const Model>(
        new Model(arch::encoder_of(architecture_), arch::lower_encoder(architecture_), preparation));
  }
}

Model::Model(arch::Architecture architecture, const arch::Weights& weights, std::shared_ptr<kernels::Backend> backend,
             const ModelPart& part)
    : architecture_(std::move(architecture)),
      part_(part),
      list_(arch::lower(architecture_)),
      backend_(std::move(backend)) {
  Preparation preparation{weights, backend_, backend_->make_stream(), {}, {}};
  prepare_all(preparation);
}

Model::Model(arch::Architecture architecture, arch::OpList list, Preparation& preparation)
    : architecture_(std::move(architecture)), list_(std::move(list)), backend_(preparation.backend) {
  prepare_all(preparation);
}

void Model::prepare_all(Preparation& preparation) {
  ops_.reserve(list_.ops.size());
  bool behind_layers = false;
  for (const arch::Op& op : list_.ops) {
    behind_layers |= op.kind == arch::OpKind::kSelectRows;
    ops_.push_back({&op});
    if (is_in_part(op, behind_layers)) prepare(ops_.back(), preparation);
  }
  backend_->synchronize(*preparation.stream);
  parameters_ = preparation.weights.parameters();
}

bool Model::is_in_part(const arch::Op& op, bool behind_layers) const {
  if (op.layer >= 0) {
    const auto layer = static_cast<std::uint32_t>(op.layer);
    return layer >= part_.first_layer && layer < part_.last_layer;
  }
  if (!behind_layers) return part_.first_layer == 0;
  return part_.last_layer >= architecture_.n_layers && (part_.head || op.kind != arch::OpKind::kLinear);
}

std::uint32_t Model::state_layers() const {
  return std::max(architecture_.n_layers, encoder_ == nullptr ? 0 : encoder_->architecture_.n_layers);
}

void Model::prepare(PreparedOp& prepared, Preparation& preparation) {
  const arch::Op& op = *prepared.op;
  const arch::Weights& weights = preparation.weights;
  const auto floats = [&](const std::string& name) { return finite_floats(weights.at(name)); };
  const auto upload = [&](std::span<const float> values) {
    return backend_->upload_floats(*preparation.stream, values);
  };
  for (const arch::LinearUse& use : op.linears) {
    if (use.matrices == 0) {
      prepared.linears.push_back(preparation.linear(use.weight, use.has_bias));
      bytes_per_token_ += prepared.linears.back()->bytes();
      continue;
    }
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < use.matrices; ++i) {
      prepared.linears.push_back(preparation.linear(fmt::format("{}.{}", use.weight, i), use.has_bias));
      bytes += prepared.linears.back()->bytes();
    }
    // A row of the output for each matrix that a token takes.
    bytes_per_token_ += bytes / use.matrices * list_.slots[static_cast<std::size_t>(use.out)].heads;
  }
  if (op.kind == arch::OpKind::kEmbed || op.kind == arch::OpKind::kPositionEmbed ||
      op.kind == arch::OpKind::kTypeEmbed) {
    const PackedTensor stored =
        op.positions > 0 ? position_vectors(op.positions, architecture_.width) : weights.at(op.weight + ".weight");
    const PackedTensor table = stored.rows(op.position_offset, stored.shape.rows());
    prepared.table = preparation.table(op.weight, table);
    bytes_per_token_ += table.bytes() / std::max<std::uint64_t>(1, table.shape.rows());
  }
  if (op.kind == arch::OpKind::kNorm) {
    prepared.weight = upload(floats(op.weight + ".weight"));
    if (op.has_bias) prepared.bias = upload(floats(op.weight + ".bias"));
  }
  if (op.attention.sinks) prepared.weight = upload(floats(op.weight + ".weight"));
  if (op.attention.relative.buckets > 0) {
    prepared.weight = upload(arch::biases_by_distance(floats(op.weight + ".weight"), op.attention.n_heads,
                                                      op.attention.relative, !op.attention.causal));
  }
  if (op.router.correction) prepared.bias = upload(floats(op.weight + ".bias"));
}

}  // namespace lathe::model
