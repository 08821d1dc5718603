// The public face of chat templates: messages and options to variables, the default template, choosing a template,
// refusals, and rendering from several threads.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <thread>

namespace lathe::text {
namespace {

const std::vector<ChatMessage> kTalk = {{.role = "system", .content = "Be brief."},
                                        {.role = "user", .content = "Hi"},
                                        {.role = "assistant", .content = "Hello"}};

constexpr const char* kToolCalls =
    R"([{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1, \"b\": [2]}"}}])";

TEST(ChatTemplate, ChatMlIsTheDocumentedDefault) {
  EXPECT_EQ(ChatTemplate::chatml().name(), "ChatML");
  EXPECT_EQ(ChatTemplate::chatml().render(kTalk),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(ChatTemplate::chatml().render({kTalk[1]}, {.add_generation_prompt = false}),
            "<|im_start|>user\nHi<|im_end|>\n");
  ChatMessage parts{.role = "user", .content = ""};
  parts.content_parts = R"([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])";
  EXPECT_EQ(ChatTemplate::chatml().render({parts}, {.add_generation_prompt = false}),
            "<|im_start|>user\nab<|im_end|>\n");
}

TEST(ChatTemplate, OptionsBecomeVariables) {
  const auto source =
      "{{ bos_token }}{{ eos_token }}|{{ add_generation_prompt }}|{{ tools is none }}|{{ enable_thinking }}|{{ tools "
      "}}|{{ documents }}";
  const ChatTemplate chat = ChatTemplate::parse(source);
  EXPECT_EQ(chat.render({}, {.add_generation_prompt = false, .bos_token = "<s>", .eos_token = "</s>"}),
            "<s></s>|False|True||None|None");
  ChatTemplateOptions options;
  options.tools_json = R"([{"type": "function"}])";
  options.extra_json = R"({"enable_thinking": false, "bos_token": "override"})";
  EXPECT_EQ(chat.render({}, options), "override|True|False|False|[{'type': 'function'}]|None");
}

TEST(ChatTemplate, MessagesCarryOnlyWhatTheyHave) {
  const ChatTemplate chat = ChatTemplate::parse("{{ messages | tojson }}");
  EXPECT_EQ(chat.render({{.role = "user", .content = "é\n"}}), R"([{"role": "user", "content": "é\n"}])");
  ChatMessage full{.role = "tool", .content = "3"};
  full.name = "add";
  full.tool_call_id = "c1";
  full.reasoning_content = "hm";
  EXPECT_EQ(chat.render({full}),
            R"([{"role": "tool", "content": "3", "name": "add", "reasoning_content": "hm", "tool_call_id": "c1"}])");
}

TEST(ChatTemplate, ToolArgumentsComeInTheFormTheTemplateWants) {
  ChatMessage call{.role = "assistant", .content = ""};
  call.tool_calls = kToolCalls;
  const ChatTemplate as_object = ChatTemplate::parse(
      "{% for m in messages %}{% for t in m.tool_calls or [] %}{{ t.function.arguments | tojson }}{% endfor %}{% "
      "endfor %}");
  const ChatTemplate as_text = ChatTemplate::parse(
      "{% for m in messages %}{% for t in m.tool_calls or [] %}{{ 'call ' + t.function.arguments }}{% endfor %}{% "
      "endfor %}");
  EXPECT_EQ(as_object.tool_arguments(), ToolArguments::kObject);
  EXPECT_EQ(as_text.tool_arguments(), ToolArguments::kText);
  EXPECT_EQ(as_object.render({call}), R"({"a": 1, "b": [2]})");
  EXPECT_EQ(as_text.render({call}), R"(call {"a": 1, "b": [2]})");
  ChatTemplateOptions options;
  options.tool_arguments = ToolArguments::kObject;
  EXPECT_THROW(as_text.render({call}, options), Error);
  // Arguments that are no JSON, as models sometimes write them, stay text.
  call.tool_calls = R"([{"function": {"name": "f", "arguments": "{oops"}}])";
  EXPECT_EQ(as_object.render({call}), R"("{oops")");
}

TEST(ChatTemplate, RefusalsAreTheirOwnError) {
  const ChatTemplate chat = ChatTemplate::parse(
      "{% for m in messages %}\n  {{ raise_exception('no\n\"' + m.role + '\"') }}{% endfor %}", "model.gguf");
  try {
    chat.render(kTalk);
    FAIL() << "the template should have refused";
  } catch (const TemplateRaised& refusal) {
    EXPECT_EQ(refusal.message(), "no\n\"system\"");
    EXPECT_EQ(refusal.where(), "model.gguf: line 2, column 6");
  }
}

TEST(ChatTemplate, BadInputIsAnErrorThatSaysWhichInput) {
  const ChatTemplate& chat = ChatTemplate::chatml();
  const auto message_of = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message_of([&] { chat.render_json("[1]"); }), "template context: expected a JSON object");
  EXPECT_EQ(message_of([&] { chat.render_json("{\n\"a\": }"); }), "template context: invalid JSON at line 2, column 6");
  EXPECT_EQ(message_of([&] { chat.render_json(std::string(300, '[')); }),
            "template context: JSON is nested deeper than 256 levels");
  ChatTemplateOptions options;
  options.tools_json = "{}";
  EXPECT_EQ(message_of([&] { chat.render({}, options); }), "tools: expected a JSON list of tools");
  options = {.extra_json = "3"};
  EXPECT_EQ(message_of([&] { chat.render({}, options); }), "template variables: expected a JSON object");
  ChatMessage message{.role = "user", .content = ""};
  message.content_parts = "{}";
  EXPECT_EQ(message_of([&] { chat.render({message}); }), "message content: expected a JSON list of parts");
  EXPECT_EQ(message_of([] { ChatTemplate::parse("\xff"); }), "chat template: the template is not UTF-8 text");
  EXPECT_NE(message_of([] { ChatTemplate::parse(std::string(2 << 20, 'x')); }).find("more than"), std::string::npos);
}

TEST(ChatTemplate, MessagesThatAreNotUtf8PassThrough) {
  EXPECT_EQ(ChatTemplate::parse("{{ messages[0].content | trim | upper }}")
                .render({{.role = "user", .content = " a\xff\xc3 "}}),
            "A\xff\xc3");
}

TEST(ChatTemplate, ConcurrentRenderingsAgree) {
  const ChatTemplate chat = ChatTemplate::parse(
      "{% macro f(x) %}{% set ns = namespace(l=[]) %}{% for i in range(50) %}{% set _ = ns.l.append(x ~ i) %}{% endfor "
      "%}"
      "{{ ns.l | join('constant') }}{% endmacro %}{% for m in messages %}{{ f(m.content) }}{% endfor %}");
  const std::string expected = chat.render(kTalk);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) wrong[static_cast<std::size_t>(t)] += chat.render(kTalk) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(ChooseChatTemplate, TextOrNamedList) {
  EXPECT_EQ(choose_chat_template(R"("{{ x }}")", true, "t"), "{{ x }}");
  constexpr auto kList =
      R"([{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}])";
  EXPECT_EQ(choose_chat_template(kList, false, "t"), "D");
  EXPECT_EQ(choose_chat_template(kList, true, "t"), "T");
  EXPECT_EQ(choose_chat_template(R"([{"name": "default", "template": "D"}])", true, "t"), "D");
  EXPECT_EQ(choose_chat_template(R"([{"name": "only", "template": "O"}])", false, "t"), "O");
  EXPECT_THROW(choose_chat_template(R"([{"name": "a", "template": "A"}, {"name": "b", "template": "B"}])", false, "t"),
               Error);
  EXPECT_THROW(choose_chat_template("[]", false, "t"), Error);
  EXPECT_THROW(choose_chat_template("7", false, "t"), Error);
  EXPECT_THROW(choose_chat_template(R"([{"name": "default"}])", false, "t"), Error);
  EXPECT_THROW(choose_chat_template(R"([5])", false, "t"), Error);
}

}  // namespace
}  // namespace lathe::text
