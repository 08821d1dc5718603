#include "serve/chat_format.h"

namespace lathe::serve {

ChatFormat::ChatFormat(const formats::ModelFile& file) {
  if (file.tokenizer != nullptr) {
    const text::SpecialTokens& special = file.tokenizer->special();
    if (special.bos != text::kNoToken) bos = file.tokenizer->piece(special.bos);
    if (special.eos != text::kNoToken) eos = file.tokenizer->piece(special.eos);
  }
  if (file.chat_template.empty()) {
    // A model that was never taught the default template does not end its turn with the template's token.
    stop = {"<|im_end|>"};
    return;
  }
  chat = text::ChatTemplate::parse(file.chat_template, file.path);
  tools = tool_format_of(file.chat_template);
  reasoning = reasoning_tags_of(file.chat_template);
}

}  // namespace lathe::serve
