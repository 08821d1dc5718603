#include "engine/speculative.h"

#include <algorithm>

#include "base/error.h"

namespace lathe::engine {
namespace {

constexpr std::uint32_t kMostDraftTokens = 64;

// Ids must mean the same on both sides, or no guess would ever be right, and a chance one would be wrong.
void check_same_vocabulary(const model::Model& model, const text::Tokenizer* tokenizer, const model::Model& draft,
                           const text::Tokenizer* draft_tokenizer) {
  const auto refuse = [](const std::string& why) {
    throw UsageError("the draft model has another vocabulary: " + why, "draft",
                     "use a smaller model of the same family");
  };
  if (tokenizer == nullptr || draft_tokenizer == nullptr) {
    const std::uint32_t sizes[] = {draft.architecture().vocab_size, model.architecture().vocab_size};
    if (sizes[0] != sizes[1]) refuse(fmt::format("{} tokens, not {}", sizes[0], sizes[1]));
    return;
  }
  if (tokenizer->size() != draft_tokenizer->size())
    refuse(fmt::format("{} tokens, not {}", draft_tokenizer->size(), tokenizer->size()));
  for (std::size_t i = 0; i < tokenizer->size(); ++i) {
    const auto id = static_cast<text::TokenId>(i);
    if (tokenizer->piece(id) != draft_tokenizer->piece(id))
      refuse(fmt::format("token {} is '{}', not '{}'", id, draft_tokenizer->piece(id), tokenizer->piece(id)));
  }
  if (tokenizer->special().end_of_generation != draft_tokenizer->special().end_of_generation)
    refuse("other tokens end its texts");
}

}  // namespace

std::unique_ptr<Drafter> make_drafter(const SessionOptions& options, const std::shared_ptr<model::Model>& model,
                                      const std::shared_ptr<const text::Tokenizer>& tokenizer) {
  const DraftOptions& draft = options.draft;
  if (draft.kind == DraftKind::kNone) return nullptr;
  if (draft.tokens == 0 || draft.tokens > kMostDraftTokens)
    throw UsageError(fmt::format("{} draft tokens, expected 1 to {}", draft.tokens, kMostDraftTokens), "draft");
  const bool source = model->encoder() != nullptr || (draft.model != nullptr && draft.model->encoder() != nullptr);
  if (source && draft.kind != DraftKind::kNgram) {
    throw UsageError("an encoder-decoder model neither drafts nor has a draft model", "draft",
                     "use an n-gram draft, or none");
  }
  const std::uint32_t n_layers = model->architecture().n_layers, vocabulary = model->architecture().vocab_size;
  switch (draft.kind) {
    case DraftKind::kNgram:
      return ngram_drafter();
    case DraftKind::kLayers:
      if (draft.layers == 0 || draft.layers >= n_layers)
        throw UsageError(fmt::format("a draft of {} layers of a model of {}", draft.layers, n_layers), "draft",
                         fmt::format("give 1 to {}", n_layers - 1));
      return model_drafter(model, tokenizer, draft.layers, vocabulary, options);
    default:
      check_same_vocabulary(*model, tokenizer.get(), *draft.model, draft.tokenizer.get());
      return model_drafter(draft.model, draft.tokenizer, 0, vocabulary, options);
  }
}

}  // namespace lathe::engine
