// One layer on its way through a method: its weights as floats, what calibration saw, and the packed result.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "arch/codec_mix.h"
#include "arch/lower.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"
#include "quant/statistics.h"
#include "quant/target.h"

namespace lathe::quant {

struct MethodOptions {
  std::optional<float> damping;     // share of the Hessian's mean diagonal added to all of it; none: the method's own
  bool act_order = false;           // GPTQ, SpQR: columns of the largest inputs first
  float alpha = -1;                 // SmoothQuant+: the strength; < 0: searched
  float outlier_threshold = 0.2f;   // SpQR: costs above it make an outlier, in a unit of the layer's own; 0: none
  float smooth_percentile = 99.5f;  // DGQ: input columns whose largest value is beyond it are scaled down to it
  bool even_widths = false;         // SliM-LLM: every block of columns has the average width
  bool plain_scales = false;        // SliM-LLM: scales are chosen as GPTQ chooses them
  float salience_weight = 1;        // SliM-LLM: how much more errors of salient weights count there
  float shadow_share = 0.001f;      // shadow: the share of an input's values, the largest, that its range leaves out
  float shadow_threshold = 5;       // shadow: outliers are kept where the largest is beyond so many times the range
  float shadow_prune = 0.85f;       // shadow: the share of inputs, of the least important outliers, that lose theirs
  std::set<std::string, std::less<>> shadows;  // shadow: inputs that keep theirs, by first linear, as prepare chose
};

// Linear weights by name, without ".weight".
using Linears = std::vector<std::string>;

struct LayerWork {
  const arch::Architecture* architecture = nullptr;
  const arch::OpList* ops = nullptr;
  int layer = 0;
  Target target;
  const arch::CodecMix* mix = nullptr;  // says the codec of every matrix instead, when there is one
  MethodOptions options;
  kernels::Backend* backend = nullptr;
  ThreadPool* pool = nullptr;

  std::map<std::string, PackedTensor, std::less<>> source;         // the layer's tensors, by full name
  std::map<std::string, std::vector<float>> floats;                // those that were decoded, and may have been changed
  std::map<std::string, std::shared_ptr<InputStatistics>> inputs;  // by linear; empty without calibration
  std::map<std::string, PackedTensor> packed;                      // what the layer becomes: tensors not in here stay
  std::map<std::uint64_t, Target> targets;                         // by columns, as target_of found them

  // The tensor's values, decoded on first use; writing to them changes what is packed.
  std::vector<float>& values(const std::string& name);
  // The same, through check_weights().
  const std::vector<float>& checked_values(const std::string& name);
  const Shape& shape(const std::string& name) const { return source.at(name).shape; }
  // The weights to round, those together that read the same input: a linear operation's, or one expert's. Routers are
  // not among them, nor the matrices per head of latent attention.
  std::vector<Linears> linears_by_input() const;
  const InputStatistics& input_of(const std::string& linear) const;
  // The target for a tensor: the mix's, or the one of all; codecs whose blocks do not divide its rows fall back to F16,
  // with a warning for the first of the layer's tensors with such rows.
  Target target_of(const std::string& name);
  // Rounds `name` to the nearest under its target, errors weighted by `importance` (one per column, or none).
  void round_to_target(const std::string& name, std::span<const float> importance = {});
  // Every changed tensor that was not packed becomes F32: norms and biases that took part in a merge.
  void keep_changed();
};

// Throws an Error that names the tensor, the place and a remedy when one of some rows' values, `columns` each, is NaN,
// infinite, or larger than the codec takes: most store scales in half precision. `first_row`: that of the first value.
void check_weights(const std::string& name, std::span<const float> values, std::uint64_t columns, const Codec& codec,
                   std::uint64_t first_row = 0);
// The same for all of a tensor, without keeping its values.
void check_weights(const PackedTensor& tensor, const Codec& codec, ThreadPool& pool);

// For weights that were all right before errors of others were added to them: a scale of the row came out larger than
// half precision goes.
[[noreturn]] void fail_scale(const std::string& name, std::uint64_t row);

// Whether `slot` holds the logits that the layer's experts are chosen by.
bool is_router(const arch::OpList& ops, int layer, int slot);

// `target` where its codec can hold rows of `columns`, F16 otherwise, with a warning that names the tensor.
Target target_for(const Target& target, const std::string& name, std::uint64_t columns);

// What Codec::encode makes of all rows, in parallel where they stand alone: of `values`, or of a tensor, which is then
// decoded piece by piece.
PackedTensor pack_rows(const PackedTensor& source, const Target& target, ThreadPool& pool);
PackedTensor pack_rows(const std::string& name, const Target& target, const Shape& shape, std::span<const float> values,
                       std::span<const float> importance, ThreadPool& pool);

}  // namespace lathe::quant
