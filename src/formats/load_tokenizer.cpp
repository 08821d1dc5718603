#include "formats/load_tokenizer.h"

namespace lathe::formats {

void attach_tokenizer(ModelFile& model, const LoadOptions& options, const TokenizerSource& own) {
  if (!options.tokenizer.empty()) fail(options.tokenizer.string(), "is not a tokenizer file that Lathe reads");
  if (const auto spec = own()) model.tokenizer_spec = std::make_shared<const text::TokenizerSpec>(*spec);
}

std::optional<text::TokenizerSpec> tokenizer_from_gguf(const Metadata&) { return std::nullopt; }

std::optional<text::TokenizerSpec> tokenizer_beside_llama2c(const std::filesystem::path&, std::uint32_t) {
  return std::nullopt;
}

}  // namespace lathe::formats
