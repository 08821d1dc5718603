// A post-training method: what chooses the values of packed weights. One file each, all in the table of methods.cpp.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "quant/layer_work.h"

namespace lathe::quant {

// How much of the calibration text a method wants to see.
enum class Needs : std::uint8_t { kNothing, kStatistics, kGram };

// What a method may ask of the whole model before it begins with the first layer.
struct WholeModel {
  // Measures what a choice of options costs: quantizes every layer with `options` and returns the mean squared
  // difference of the layers' outputs from the original's, errors accumulating, relative to the outputs' own mean
  // square.
  std::function<double(const MethodOptions& options)> loss;
  // Shows every layer in turn, with the statistics of its inputs in the original model.
  std::function<void(const std::function<void(const LayerWork& work)>& look)> each_layer;
};

class Method {
 public:
  virtual ~Method() = default;
  virtual std::string_view name() const = 0;         // "gptq"
  virtual std::string_view description() const = 0;  // one line for people
  virtual std::string_view paper() const = 0;
  // The MethodOptions that it looks at, as the command line names them ("--damping").
  virtual std::vector<std::string_view> options() const { return {}; }
  // What it packs into when nothing else is asked for.
  virtual std::string_view usual_codec() const { return "INT_SYM"; }
  virtual Needs needs() const = 0;
  // Whether it can produce the target.
  virtual bool can_target(const Target& target) const = 0;
  // Before the first layer; methods that look at or search over the whole model settle their options here.
  virtual void prepare(MethodOptions& options, const WholeModel& model) const { (void)options, (void)model; }
  // Fills work.packed for every linear of the layer.
  virtual void quantize(LayerWork& work) const = 0;
};

std::span<const Method* const> all_methods();
const Method& method_named(std::string_view name);  // throws UsageError with the nearest names

// Each defined in its own file.
const Method& rtn_method();
const Method& gptq_method();
const Method& awq_method();
const Method& smoothquant_plus_method();
const Method& spqr_method();
const Method& bitmod_method();
const Method& db_llm_method();
const Method& dgq_method();
const Method& slim_llm_method();
const Method& shadow_method();

}  // namespace lathe::quant
