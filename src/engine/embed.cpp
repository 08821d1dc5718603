// Texts to vectors: several texts share each pass, and the hidden states after the final norm are pooled as they come.
#include <algorithm>
#include <cmath>
#include <list>

#include "base/error.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace lathe::engine {
namespace {

// Sums hidden states in the order of their positions, so that a vector does not depend on what shared its passes.
class Pool {
 public:
  Pool(std::uint32_t dimension, api::Pooling pooling, bool normalize)
      : sum_(dimension, 0), pooling_(pooling), normalize_(normalize) {}

  // Whether `count` rows from position `begin` of a text of `length` tokens matter, and which of them.
  model::Want wanted(std::size_t begin, std::size_t count, std::size_t length) const {
    switch (pooling_) {
      case api::Pooling::kMean:
        return model::Want::kAll;
      case api::Pooling::kCls:
        return begin == 0 ? model::Want::kAll : model::Want::kNothing;
      case api::Pooling::kLast:
        return begin + count == length ? model::Want::kLast : model::Want::kNothing;
    }
    return model::Want::kNothing;
  }

  void add(std::size_t position, std::span<const float> hidden) {
    if (pooling_ == api::Pooling::kCls && position != 0) return;
    for (std::size_t i = 0; i < hidden.size(); ++i) sum_[i] += hidden[i];
    ++rows_;
  }

  std::vector<float> vector() const {
    double squares = 0;
    for (const double value : sum_) squares += value * value;
    const double length = std::sqrt(squares);
    const double factor = !normalize_ ? 1 / static_cast<double>(rows_) : length > 0 ? 1 / length : 0;
    std::vector<float> result(sum_.size());
    std::transform(sum_.begin(), sum_.end(), result.begin(),
                   [&](double value) { return static_cast<float>(value * factor); });
    return result;
  }

 private:
  std::vector<double> sum_;
  std::size_t rows_ = 0;
  api::Pooling pooling_;
  bool normalize_;
};

api::Pooling pooling_of(const arch::Architecture& a) {
  switch (a.pooling) {
    case PoolingKind::kCls:
      return api::Pooling::kCls;
    case PoolingKind::kLast:
      return api::Pooling::kLast;
    case PoolingKind::kMean:
      break;
  }
  return api::Pooling::kMean;
}

struct Text {
  std::size_t index;  // among the texts asked for
  std::vector<text::TokenId> ids;
  cache::PagedKv state;
  Pool pool;
  std::size_t read = 0;  // tokens the model has seen
};

}  // namespace

std::uint32_t Session::dimension() const { return state_->model->architecture().width; }

std::vector<std::vector<float>> Session::embed(std::span<const std::string> texts, const api::EmbedOptions& options) {
  std::vector<std::vector<text::TokenId>> ids;
  for (const std::string& text : texts) {
    ids.push_back(tokenizer().encode(text));
    const std::string where = fmt::format("text {}", ids.size());
    if (ids.back().empty()) throw Error("has no tokens to embed", where, "leave out empty texts");
    if (ids.back().size() > state_->options.context) {
      throw Error(fmt::format("has {} tokens, the context holds {}", ids.back().size(), state_->options.context), where,
                  "raise the context (-c) or split the text");
    }
  }

  State& state = *state_;
  // Of an encoder-decoder model, the encoder's hidden states.
  model::ForwardContext& forward = state.encoder != nullptr ? state.encoder->forward() : state.forward;
  const arch::Architecture& a = forward.model().architecture();
  const api::Pooling pooling = options.pooling.value_or(pooling_of(a));
  const bool normalize = options.normalize.value_or(a.unit_vectors);
  std::vector<std::vector<float>> vectors(texts.size());
  std::list<Text> active;
  std::size_t next = 0;
  // One pass. Blocks are taken and given back under the mutex only.
  const auto pass = [&] {
    if (state.cancel != nullptr) state.cancel->check();
    while (next < texts.size() && active.size() < state.options.max_batch) {
      cache::PagedKv sequence(state.pool, state.policy);
      std::uint64_t needed = sequence.blocks_needed(ids[next].size());
      for (const Text& text : active) needed += text.state.blocks_needed(text.ids.size() - text.read);
      if (state.pool.free_blocks() < needed && !state.scheduler.prefix_tree().evict(needed) && !active.empty()) break;
      active.push_back({next, std::move(ids[next]), std::move(sequence), Pool(dimension(), pooling, normalize)});
      ++next;
    }
    std::vector<Text*> batch;
    std::vector<model::Segment> segments;
    std::vector<model::SequenceInput> inputs;
    std::size_t room = forward.max_rows();
    for (auto text = active.begin(); text != active.end() && room > 0; ++text) {
      const std::size_t count = state.policy->rows_of_pass(text->read, text->ids.size() - text->read, room);
      if (count == 0) continue;
      if (!a.causal && count < text->ids.size()) break;  // whole texts only: a token sees those after it
      batch.push_back(&*text);
      segments.push_back({std::span(text->ids).subspan(text->read, count)});
      inputs.push_back({&text->state, {}, text->pool.wanted(text->read, count, text->ids.size())});
      room -= count;
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].segments = {&segments[i], 1};
    forward.forward(inputs, {.hidden_only = true},
                    [&](std::size_t i, std::uint64_t row, std::span<const float> hidden) {
                      batch[i]->pool.add(batch[i]->read + row, hidden);
                    });
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i]->read += segments[i].tokens.size();
    active.remove_if([&](const Text& text) {
      if (text.read < text.ids.size()) return false;
      vectors[text.index] = text.pool.vector();
      return true;
    });
  };
  while (next < texts.size() || !active.empty()) {
    const std::lock_guard lock(state.mutex);
    try {
      pass();
    } catch (...) {
      active.clear();
      throw;
    }
  }
  return vectors;
}

}  // namespace lathe::engine
