// What a model's files say about conversations: its template, its tool calls, its reasoning, what ends a turn.
#pragma once

#include <string>
#include <vector>

#include "formats/model_file.h"
#include "serve/reasoning.h"
#include "serve/tool_format.h"
#include "text/chat_template.h"

namespace lathe::serve {

struct ChatFormat {
  ChatFormat() = default;
  // ChatML for a model that brings no template. Throws Error for a template that cannot be parsed.
  explicit ChatFormat(const formats::ModelFile& file);

  text::ChatTemplate chat = text::ChatTemplate::chatml();
  std::string bos, eos;               // the texts of these tokens; empty where there are none
  const ToolFormat* tools = nullptr;  // of the template itself
  ReasoningTags reasoning;
  std::vector<std::string> stop;  // texts that end a turn beside the model's own end tokens
};

}  // namespace lathe::serve
