// From a model to a compressed one: layer after layer, each quantized from what calibration shows of its inputs behind
// the layers already compressed.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "quant/calibration.h"
#include "quant/method.h"

namespace lathe::quant {

struct QuantizeOptions {
  const Method* method = nullptr;
  Target target;
  // Says the codec of every matrix in the layers instead; `target` is its body then.
  const arch::CodecMix* mix = nullptr;
  // Of the token embedding and the output head: a codec of its own, or none for the one the file has.
  std::optional<Target> embedding, head;
  MethodOptions method_options;
  std::string calibration_text, calibration_source;
  CalibrationOptions calibration;
  int threads = 0;
  std::string kernel = "auto";
  bool progress = true;
};

struct TensorReport {
  std::string name, codec;
  double bits_per_weight = 0;
  std::uint64_t bytes = 0;
  double relative_error = 0;  // squared difference from the original's values over their squares; merged scales count
  std::string remark;         // what the codec says of it beside that (Codec::remark)
};

struct QuantizeReport {
  std::uint64_t bytes = 0, parameters = 0;
  // Of the layers that this run calibrated; scarce ones got too few tokens for statistics of their own.
  std::uint64_t experts = 0, scarce_experts = 0;
  double seconds = 0, capture_seconds = 0, gram_seconds = 0, method_seconds = 0, advance_seconds = 0;
  std::vector<TensorReport> tensors;
  double bits_per_weight() const {
    return parameters == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
  }
};

// Throws a UsageError that names the remedy when the codec does not have the parameters, and one that names the pair
// when the method cannot produce it.
void check_pair(const Method& method, const Target& target);

// Reads `in`, writes `out` (any kind of file that can hold the codec) when all is done. An interrupted run leaves
// finished layers beside `out` and goes on there when it is started again with the same options, the same calibration
// tokens, the same kernels, and a model whose every byte is the same, wherever it lies.
QuantizeReport quantize_model(const formats::ModelFile& in, const std::filesystem::path& out,
                              const QuantizeOptions& options);

}  // namespace lathe::quant
