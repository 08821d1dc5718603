// What calibration sees of a linear layer's input, gathered through model::ForwardHooks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "model/hooks.h"
#include "quant/magnitudes.h"
#include "quant/token_sample.h"

namespace lathe::quant {

// Over all calibration tokens, or those that reached an expert; n is the number of columns of the input.
struct InputStatistics {
  explicit InputStatistics(std::size_t n = 0) : sum_abs(n), sum_squares(n), largest(n) {}

  std::uint64_t tokens = 0;
  std::vector<double> sum_abs, sum_squares;  // [n]
  std::vector<float> largest;                // [n], magnitudes
  Magnitudes magnitudes;                     // of all values of all columns
  std::vector<float> gram;                   // [n, n], sum of x x^T; empty unless it was asked for
  std::vector<float> sample;                 // [tokens kept, n], some of the inputs themselves (token_sample.h)
  std::uint32_t experts = 1;                 // so many experts' inputs put together

  std::size_t columns() const { return largest.size(); }
  std::vector<float> mean_abs() const;
  std::vector<float> mean_squares() const;
  // As if every column had been divided by s; `magnitudes`, which do not know columns, are emptied.
  void divide(const std::vector<float>& s);
  // Puts the other's tokens to these, but for the sample.
  void add(const InputStatistics& other);
};

// Tokens that an expert must have been given to be calibrated on them, for inputs of n columns: far fewer leave most
// directions of its input unseen, and a method would think that errors along those cost nothing.
constexpr std::uint64_t least_expert_tokens(std::size_t n) { return (n + 3) / 4; }

// Statistics of the inputs of one layer's linear operations while text runs through it. Linears that read the same
// input share one entry. Every expert has its own, of the tokens that the router sent to it; those that got too few
// (least_expert_tokens) share one of the inputs of all of the layer's experts.
class StatisticsHooks final : public model::ForwardHooks {
 public:
  // `gram`: also the products of all pairs of columns, which methods of second order need.
  StatisticsHooks(int layer, bool gram) : layer_(layer), gram_(gram) {}
  void on_linear_input(const arch::Op& op, kernels::DeviceTensor x, kernels::Backend& backend,
                       kernels::Stream& stream) override;
  void on_router(const arch::Op& op, kernels::DeviceTensor logits, kernels::DeviceTensor experts,
                 kernels::DeviceTensor weights, kernels::Backend& backend, kernels::Stream& stream) override;
  // By linear weight, without ".weight". Throws an Error naming the layer when an input was not finite.
  std::map<std::string, std::shared_ptr<InputStatistics>> take();
  // What the products of columns with each other took so far: n^2 operations for a token of n columns, about, because
  // each pair is multiplied once.
  double gram_seconds() const { return gram_seconds_; }
  // After take(): the layer's experts, and those of them that got too few tokens.
  std::size_t experts() const { return experts_; }
  std::size_t scarce_experts() const { return scarce_.size(); }

 private:
  struct Entry {
    std::shared_ptr<InputStatistics> statistics;  // nullptr before the first token
    kernels::DeviceBuffer gram;
    TokenSample sample;
  };
  // An operation's inputs: one, or one for each expert.
  struct Inputs {
    std::size_t columns = 0;
    std::vector<std::string> linears;  // without the experts' numbers
    bool grouped = false;
    std::vector<Entry> entries;
    TokenSample sample;  // of all experts' tokens
  };
  // x: [rows, n].
  void add(Entry& entry, std::span<const float> x, std::size_t n, kernels::Backend& backend, kernels::Stream& stream);
  void add_gram(Entry& entry, const std::vector<float>& columns, std::size_t n, std::size_t rows,
                kernels::Backend& backend, kernels::Stream& stream);
  // The entry's statistics, complete; `linear` for errors.
  std::shared_ptr<InputStatistics> finish(Entry& entry, const std::string& linear);
  std::vector<std::shared_ptr<InputStatistics>> finish_experts(Inputs& inputs);

  int layer_;
  bool gram_;
  std::map<std::string, Inputs> inputs_;              // by the first linear of an operation
  std::map<int, std::vector<std::int32_t>> choices_;  // of the pass, by slot: [rows, top_k]
  double gram_seconds_ = 0;
  std::size_t experts_ = 0;
  std::set<std::size_t> scarce_;
  kernels::Backend* backend_ = nullptr;
  kernels::Stream* stream_ = nullptr;
};

}  // namespace lathe::quant
