#include "quant/quantize_model.h"

#include <array>
#include <chrono>
#include <cmath>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "formats/fingerprint.h"
#include "formats/gguf_model.h"
#include "model/model.h"
#include "quant/partial.h"

namespace lathe::quant {
namespace {

using Clock = std::chrono::steady_clock;
using Tensors = std::map<std::string, PackedTensor>;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Of every byte, not of samples or of file times: a model that was mended in place differs in a few values somewhere,
// and copies of a file differ in nothing. Its reading costs little beside quantizing; the pages are not kept.
std::uint64_t hash_of(const arch::Weights& weights, ThreadPool& pool) {
  std::vector<const PackedTensor*> tensors;
  for (const auto& [name, tensor] : weights.all()) tensors.push_back(&tensor);
  std::vector<std::uint64_t> hashes(tensors.size());
  pool.parallel_for(tensors.size(), 1, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      interrupt_token().check();
      hashes[i] = hash64(tensors[i]->name, hash64(tensors[i]->codec->name()));
      for (const Part& part : tensors[i]->parts) {
        hashes[i] = hash64(part.data.span(), hashes[i]);
        drop_pages(part.data.span());
      }
    }
  });
  return hash64(std::as_bytes(std::span(hashes)));
}

void replace(arch::Weights& weights, const auto& tensors) {
  for (const auto& [name, tensor] : tensors) {
    weights.remove(name);
    weights.add(tensor);
  }
}

// What lies in a file is not needed in memory again for now.
void drop(const PackedTensor& tensor) {
  for (const Part& part : tensor.parts) drop_pages(part.data.span());
}

void drop(const auto& tensors) {
  for (const auto& [name, tensor] : tensors) drop(tensor);
}

double relative_error(const PackedTensor& original, const PackedTensor& packed) {
  double error = 0, energy = 0;
  std::vector<float> a(original.shape.cols()), b(a.size());
  for (std::uint64_t row = 0; row < original.shape.rows(); ++row) {
    original.decode_row(row, a);
    packed.decode_row(row, b);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double off = static_cast<double>(a[i]) - b[i];
      error += off * off;
      energy += static_cast<double>(a[i]) * a[i];
    }
  }
  drop(original), drop(packed);
  return energy > 0 ? error / energy : 0;
}

// A layer of a model, or of the encoder or decoder of one that has both.
struct Block {
  const arch::OpList* ops;
  int layer;
  std::string prefix;  // of its tensors' names
};

// What the values that a method chooses depend on beside the model.
std::string text_of(const QuantizeOptions& o) {
  const MethodOptions& m = o.method_options;
  return fmt::format("{} {} {} | {} {} {} {} {} {} {} {} {} {} {}", o.method->name(),
                     o.mix != nullptr ? o.mix->name : o.target.codec->name(), o.target.text(), m.damping.value_or(-1),
                     m.act_order, m.alpha, m.outlier_threshold, m.smooth_percentile, m.even_widths, m.plain_scales,
                     m.salience_weight, m.shadow_share, m.shadow_threshold, m.shadow_prune);
}

class Run {
 public:
  Run(const formats::ModelFile& in, const QuantizeOptions& options)
      : in_(in),
        options_(options),
        weights_(in.weights),
        backend_(kernels::make_cpu_backend({options.threads, options.kernel})),
        pool_(options.threads),
        ops_(arch::lower(in.architecture)) {
    const bool translates = in.architecture.encoder.n_layers > 0;
    if (translates) encoder_ops_ = arch::lower_encoder(in.architecture);
    add_blocks(encoder_ops_, in.architecture.encoder.n_layers, "enc.blk.");
    add_blocks(ops_, in.architecture.n_layers, translates ? "dec.blk." : "blk.");
    for (const auto& [name, target] : outer_targets()) {
      const PackedTensor* tensor = in.weights.find(name);
      if (tensor != nullptr && *target) check_weights(*tensor, *(*target)->codec, pool_);
    }
    if (!calibrates()) return;
    if (in.tokenizer == nullptr)
      throw Error("the model holds no tokenizer, which calibration needs", in.path, "name one with --tokenizer FILE");
    CalibrationOptions calibration = options.calibration;
    calibration.tokens = std::min(calibration.tokens, in.architecture.context_length);
    sequences_ =
        calibration_sequences(options.calibration_text, options.calibration_source, *in.tokenizer, calibration);
  }

  // Tensors of every layer, finished ones taken from `partial` when there is one.
  Tensors all_layers(const MethodOptions& method_options, const PartialRun* partial, QuantizeReport& report,
                     double* loss) {
    const int layers = static_cast<int>(blocks_.size());
    Progress progress(loss == nullptr ? "quantizing" : "searching", static_cast<std::uint64_t>(layers),
                      options_.progress);
    std::optional<LayerRunner> runner, original;
    if (calibrates()) runner.emplace(in_.architecture, backend_, sequences_);
    if (loss != nullptr) original.emplace(in_.architecture, backend_, sequences_);
    Tensors all;
    for (int layer = 0; layer < layers; ++layer) {
      interrupt_token().check();
      std::optional<Tensors> done = partial == nullptr ? std::nullopt : partial->load(layer);
      if (!done) {
        done = one_layer(layer, method_options, runner, report);
        if (partial != nullptr) done = partial->store(layer, *done);
      }
      if (runner && (layer + 1 < layers || loss != nullptr)) {
        const auto start = Clock::now();
        const auto source = source_of(layer);
        replace(weights_, *done);
        runner->advance(weights_);
        replace(weights_, source);
        report.advance_seconds += seconds_since(start);
        drop(*done);
        if (original) {
          original->advance(weights_);
          drop(source);
          *loss += loss_of(original->hidden(), runner->hidden());
        }
      }
      if (loss == nullptr) all.merge(*done);
      progress.advance();
    }
    return all;
  }

  // For methods that search: the mean over layers of |difference|^2 / |original|^2 of their outputs.
  double whole_model_loss(const MethodOptions& method_options) {
    double loss = 0;
    QuantizeReport unused;
    all_layers(method_options, nullptr, unused, &loss);
    return loss / in_.architecture.n_layers;
  }

  // The original's layers with statistics of their inputs.
  void each_layer(const MethodOptions& method_options, const std::function<void(const LayerWork&)>& look) {
    const int layers = static_cast<int>(in_.architecture.n_layers);
    Progress progress("looking", static_cast<std::uint64_t>(layers), options_.progress);
    std::optional<LayerRunner> runner(std::in_place, in_.architecture, backend_, sequences_);
    QuantizeReport unused;
    for (int layer = 0; layer < layers; ++layer) {
      interrupt_token().check();
      look(work_on(layer, method_options, runner, unused));
      if (layer + 1 < layers) runner->advance(weights_);
      drop(source_of(layer));
      progress.advance();
    }
  }

  // The tensors outside of the layers that get a codec of their own.
  Tensors outer_tensors(const PartialRun& partial) {
    Tensors all;
    int place = static_cast<int>(blocks_.size());
    for (const auto& [name, target] : outer_targets()) {
      interrupt_token().check();
      const PackedTensor* tensor = in_.weights.find(name);
      if (tensor == nullptr || !*target) continue;
      const Target fitting = target_for(**target, name, tensor->shape.cols());
      all.merge(partial.store(place++, {{name, pack_rows(*tensor, fitting, pool_)}}));
      drop(*tensor);
    }
    return all;
  }

  // Everything that finished layers depend on. The tokenizer counts, with the text, by the tokens they give.
  std::string fingerprint() {
    std::uint64_t tokens = 0;
    for (const auto& sequence : sequences_) tokens = hash64(std::as_bytes(std::span(sequence)), tokens);
    const std::uint64_t shapes = formats::fingerprint(in_), bytes = hash_of(in_.weights, pool_);
    return fmt::format("{} | {} | {:016x} {:016x} {:016x}", text_of(options_), backend_->arithmetic(), shapes, bytes,
                       tokens);
  }

 private:
  // What --embedding and --head say of tensors outside of the layers.
  std::array<std::pair<std::string, const std::optional<Target>*>, 2> outer_targets() const {
    return {{{"token_embd.weight", &options_.embedding}, {"output.weight", &options_.head}}};
  }
  bool calibrates() const { return options_.method->needs() != Needs::kNothing; }

  // The original's.
  std::map<std::string, PackedTensor, std::less<>> source_of(int index) const {
    const std::string& prefix = blocks_[static_cast<std::size_t>(index)].prefix;
    const auto& all = in_.weights.all();
    const auto first = all.lower_bound(prefix);
    return {first, std::find_if(first, all.end(), [&](const auto& entry) { return !entry.first.starts_with(prefix); })};
  }

  void add_blocks(const arch::OpList& ops, std::uint32_t layers, std::string_view prefix) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      blocks_.push_back({&ops, static_cast<int>(layer), fmt::format("{}{}.", prefix, layer)});
    }
  }

  // A layer with what calibration shows of it.
  LayerWork work_on(int index, const MethodOptions& method_options, std::optional<LayerRunner>& runner,
                    QuantizeReport& report) {
    const Block& block = blocks_[static_cast<std::size_t>(index)];
    LayerWork work;
    work.architecture = &in_.architecture;
    work.ops = block.ops;
    work.layer = block.layer;
    work.target = options_.target;
    work.mix = options_.mix;
    work.options = method_options;
    work.backend = backend_.get();
    work.pool = &pool_;
    work.source = source_of(index);
    for (const Linears& linears : work.linears_by_input()) {  // an encoder multiplies with some of the decoder's
      for (const std::string& linear : linears) work.source[linear + ".weight"] = in_.weights.at(linear + ".weight");
    }
    for (const Linears& linears : work.linears_by_input()) {  // before inputs suffer from what is wrong with weights
      for (const std::string& linear : linears) {
        check_weights(work.source[linear + ".weight"], *work.target.codec, pool_);
      }
    }
    if (runner) {
      const auto start = Clock::now();
      StatisticsHooks hooks(block.layer, options_.method->needs() == Needs::kGram);
      runner->look(weights_, hooks);
      work.inputs = hooks.take();
      report.experts += hooks.experts(), report.scarce_experts += hooks.scarce_experts();
      report.capture_seconds += seconds_since(start);
      report.gram_seconds += hooks.gram_seconds();
    }
    return work;
  }

  Tensors one_layer(int layer, const MethodOptions& method_options, std::optional<LayerRunner>& runner,
                    QuantizeReport& report) {
    LayerWork work = work_on(layer, method_options, runner, report);
    const auto start = Clock::now();
    options_.method->quantize(work);
    report.method_seconds += seconds_since(start);
    drop(work.source);
    return std::move(work.packed);
  }

  using Hidden = std::vector<std::vector<float>>;
  static double loss_of(const Hidden& expected, const Hidden& hidden) {
    double error = 0, energy = 0;
    for (std::size_t s = 0; s < hidden.size(); ++s) {
      for (std::size_t i = 0; i < hidden[s].size(); ++i) {
        const double off = static_cast<double>(hidden[s][i]) - expected[s][i];
        error += off * off;
        energy += static_cast<double>(expected[s][i]) * expected[s][i];
      }
    }
    return energy > 0 ? error / energy : 0;
  }

  const formats::ModelFile& in_;
  const QuantizeOptions& options_;
  arch::Weights weights_;  // the model's, but for a layer that is being left behind
  std::shared_ptr<kernels::Backend> backend_;
  ThreadPool pool_;
  arch::OpList encoder_ops_, ops_;
  std::vector<Block> blocks_;  // an encoder's first
  Sequences sequences_;
};

}  // namespace

void check_pair(const Method& method, const Target& target) {
  check_parameters(target);
  if (method.can_target(target)) return;
  std::string able;
  for (const Codec* codec : all_codecs()) {
    const Target other{codec, codec->usual_params()};
    if (method.can_target(other)) able += (able.empty() ? "" : ", ") + std::string(codec->name());
  }
  throw UsageError(fmt::format("method {} cannot choose weights for codec {}", method.name(), target.codec->name()), {},
                   "it can for " + able);
}

QuantizeReport quantize_model(const formats::ModelFile& in, const std::filesystem::path& out,
                              const QuantizeOptions& options) {
  const auto start = Clock::now();
  if (in.architecture.encoder.n_layers > 0 && options.method->needs() != Needs::kNothing) {
    throw Error("is an encoder-decoder model, which calibration does not know: its text would need translations",
                in.path, "--method rtn and --method bitmod need no calibration");
  }
  check_pair(*options.method, options.target);
  for (const auto& outer : {options.embedding, options.head}) {
    if (outer) check_parameters(*outer);
  }
  Run run(in, options);
  QuantizeReport report;
  const PartialRun partial(out, run.fingerprint());
  MethodOptions method_options = options.method_options;
  options.method->prepare(method_options, {[&](const MethodOptions& trial) { return run.whole_model_loss(trial); },
                                           [&](const auto& look) { run.each_layer(options.method_options, look); }});
  Tensors replaced = run.all_layers(method_options, &partial, report, nullptr);
  if (report.scarce_experts > 0) {
    log_warning(
        "{} of {} experts got fewer calibration tokens than a quarter of their columns and share the inputs of all "
        "experts of their layers; --calibration-sequences takes more",
        report.scarce_experts, report.experts);
  }
  replaced.merge(run.outer_tensors(partial));

  formats::ModelFile result = in;
  replace(result.weights, replaced);
  if (options.mix != nullptr) {
    formats::set_file_type(*options.mix, result.metadata);
  } else {
    result.metadata.erase("general.file_type");  // the writer says what most weights are now
  }
  formats::save_model(result, out);
  for (const auto& [name, tensor] : replaced) {
    if (tensor.shape.rank() < 2) continue;
    report.tensors.push_back({name, std::string(tensor.codec->name()), tensor.bits_per_weight(), tensor.bytes(),
                              relative_error(in.weights.at(name), tensor), tensor.codec->remark(tensor)});
  }
  report.bytes = result.weights.bytes();
  report.parameters = result.weights.parameters();
  partial.remove();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace lathe::quant
