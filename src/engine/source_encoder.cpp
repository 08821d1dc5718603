#include "engine/source_encoder.h"

#include <utility>

#include "base/error.h"

namespace lathe::engine {

SourceEncoder::SourceEncoder(const model::Model& model, std::uint32_t context, cache::BlockPool& pool)
    : forward_(model.encoder(), context, context),
      pool_(pool),
      policy_(cache::full_policy()),
      beginning_{static_cast<text::TokenId>(model.architecture().encoder.start_token)} {}

void SourceEncoder::check(std::span<const text::TokenId> ids) const {
  const std::uint32_t vocab = forward_.model().architecture().vocab_size;
  if (ids.empty()) throw Error("the source text has no tokens", "request", "give a prompt");
  if (ids.size() > forward_.max_rows()) {
    throw Error(fmt::format("the source text has {} tokens, the context holds {}", ids.size(), forward_.max_rows()),
                "request", "raise the context (-c) or shorten the text");
  }
  for (const text::TokenId id : ids) {
    if (id < 0 || static_cast<std::uint32_t>(id) >= vocab)
      fail("request", "token id {} is outside the encoder's vocabulary of {}", id, vocab);
  }
}

std::uint64_t SourceEncoder::blocks_needed(std::size_t tokens) const {
  const std::uint64_t block = pool_.layout().block_tokens;
  return (tokens + block - 1) / block;
}

std::vector<std::shared_ptr<const cache::SourceKv>> SourceEncoder::encode(std::span<const SourceText> texts) {
  std::vector<std::unique_ptr<cache::PagedKv>> states;
  std::vector<model::Segment> segments(texts.size());
  std::vector<model::SequenceInput> inputs;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    check(texts[i].ids);
    states.push_back(std::make_unique<cache::PagedKv>(pool_, policy_));
    segments[i].tokens = texts[i].ids;
    inputs.push_back({states[i].get(), {&segments[i], 1}, model::Want::kNothing, texts[i].adapters});
  }
  forward_.forward(inputs, {}, [](std::size_t, std::uint64_t, std::span<const float>) {});
  // The decoder reads on a stream of its own.
  pool_.backend().synchronize(forward_.stream());
  std::vector<std::shared_ptr<const cache::SourceKv>> sources;
  sources.reserve(states.size());
  for (auto& state : states) sources.push_back(std::make_shared<cache::SourceKv>(std::move(state)));
  return sources;
}

std::unique_ptr<SourceEncoder> make_source_encoder(const model::Model& model, std::uint32_t context,
                                                   cache::BlockPool& pool) {
  if (model.encoder() == nullptr) return nullptr;
  return std::make_unique<SourceEncoder>(model, context, pool);
}

}  // namespace lathe::engine
