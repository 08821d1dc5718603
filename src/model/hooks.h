// Where outsiders look into, or reach into, a forward pass: calibration, unlearning, early exit, measured analysis.
#pragma once

#include "arch/lower.h"
#include "kernels/backend.h"

namespace lathe::model {

class ForwardHooks {
 public:
  virtual ~ForwardHooks() = default;

  // Before a group of linear layers (or of experts, one group of all) reads `x` [rows, in_features]; may download it,
  // or overwrite it.
  virtual void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                               kernels::Stream& stream) {
    (void)op, (void)x, (void)backend, (void)stream;
  }
  // After a router chose: its logits [rows, n_experts], the chosen experts (i32 [rows, top_k]) and their weights.
  virtual void on_router(const arch::Op& op, kernels::DeviceTensor logits, kernels::DeviceTensor experts,
                         kernels::DeviceTensor weights, kernels::Backend& backend, kernels::Stream& stream) {
    (void)op, (void)logits, (void)experts, (void)weights, (void)backend, (void)stream;
  }
  // After a layer, with the residual stream [rows, width]; returning false ends the pass here (early exit): the final
  // norm and head then run on what the layer left. The layers above have stored nothing for the pass's tokens: unless
  // their states are never asked for these, run the pass without ForwardOptions::commit.
  virtual bool on_layer_output(int layer, kernels::DeviceTensor x, kernels::Backend& backend, kernels::Stream& stream) {
    (void)layer, (void)x, (void)backend, (void)stream;
    return true;
  }
  // Seconds an operation took, the stream drained before and after; only called when wants_op_time() is true.
  virtual bool wants_op_time() const { return false; }
  virtual void on_op_time(const arch::Op& op, double seconds) { (void)op, (void)seconds; }
};

}  // namespace lathe::model
