// A model prepared on a backend: the op list with its weights resolved. Immutable; shared by every context that runs
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arch/architecture.h"
#include "arch/lower.h"
#include "arch/weights.h"
#include "kernels/backend.h"

namespace lathe::model {

// An operation with what it reads, looked up once.
struct PreparedOp {
  const arch::Op* op = nullptr;
  // One per op->linears, or LinearUse::matrices of them for each.
  std::vector<std::shared_ptr<const kernels::PreparedLinear>> linears;
  std::shared_ptr<const kernels::PreparedTable> table;
  kernels::DeviceBuffer weight, bias;  // f32 vectors: of norms, sinks, biases by distance, a router's correction
};

// What passes over some layers need (ForwardOptions): layers [first, last), with layer 0 what comes before it, and with
// the last what comes behind it, without the output head where there is none.
struct ModelPart {
  std::uint32_t first_layer = 0, last_layer = UINT32_MAX;
  bool head = true;
};

class Model {
 public:
  // Checks the weights against the schema and prepares them; throws Error naming the tensor.
  Model(arch::Architecture architecture, const arch::Weights& weights, std::shared_ptr<kernels::Backend> backend);
  // Prepares only a part of a model without an encoder, from weights that check_weights has seen; passes over the rest
  // are refused. The sizes below are of the part.
  Model(arch::Architecture architecture, const arch::Weights& weights, std::shared_ptr<kernels::Backend> backend,
        const ModelPart& part);
  Model(const Model&) = delete;  // ops() point into op_list()
  Model& operator=(const Model&) = delete;

  const arch::Architecture& architecture() const { return architecture_; }
  const arch::OpList& op_list() const { return list_; }
  const std::vector<PreparedOp>& ops() const { return ops_; }
  const ModelPart& part() const { return part_; }
  // What reads the source text of an encoder-decoder model, as a model of its own; null for others.
  const std::shared_ptr<const Model>& encoder() const { return encoder_; }
  // Layers whose state a block of the cache holds: the model's, or the encoder's where those are more.
  std::uint32_t state_layers() const;
  kernels::Backend& backend() const { return *backend_; }
  const std::shared_ptr<kernels::Backend>& shared_backend() const { return backend_; }
  // The file the weights came from, for errors that only running the model shows; empty when nobody set it.
  const std::string& source() const { return source_; }
  void set_source(std::string source) { source_ = std::move(source); }
  std::uint64_t parameters() const { return parameters_; }
  // Weight bytes that one decoded token reads (every linear layer once, as many experts as it takes, one row of each
  // table).
  std::uint64_t bytes_per_token() const { return bytes_per_token_; }

 private:
  struct Preparation;  // what both sides of an encoder-decoder model are made with and share
  Model(arch::Architecture architecture, arch::OpList list, Preparation& preparation);
  void prepare_all(Preparation& preparation);
  bool is_in_part(const arch::Op& op, bool behind_layers) const;
  void prepare(PreparedOp& prepared, Preparation& preparation);

  arch::Architecture architecture_;
  ModelPart part_;
  std::string source_;
  arch::OpList list_;
  std::shared_ptr<kernels::Backend> backend_;
  std::vector<PreparedOp> ops_;
  std::shared_ptr<const Model> encoder_;
  std::uint64_t parameters_ = 0, bytes_per_token_ = 0;
};

}  // namespace lathe::model
