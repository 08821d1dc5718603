// Renderings against Jinja2 itself, recorded by tests/golden/chat/record.py: a table of small templates, and the chat
// templates of many models (which are shared data, not part of the project) with a set of conversations.
#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "support/data.h"
#include "text/chat_template.h"

namespace lathe::text {
namespace {

// The moment that record.py's strftime_now shows: Thursday, 2026-01-15 09:05:07.
std::tm recorded_now() {
  std::tm now{};
  now.tm_year = 2026 - 1900;
  now.tm_mon = 0;
  now.tm_mday = 15;
  now.tm_hour = 9;
  now.tm_min = 5;
  now.tm_sec = 7;
  now.tm_wday = 4;
  now.tm_yday = 14;
  return now;
}

Json golden_json(std::string_view name) {
  const auto path = test::golden(name);
  return parse_json(read_file(path), path.string());
}

// The number in "chat template: line 12, column 5: ...", or -1.
int line_of(const std::string& message) {
  static constexpr std::string_view kBefore = "chat template: line ";
  return message.starts_with(kBefore) ? std::stoi(message.substr(kBefore.size())) : -1;
}

std::string whole(const std::string& text) { return text; }

// Length and FNV-1a hash, as record.py keeps of the renderings of model templates.
std::string digest(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (const char byte : text) value = (value ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  return fmt::format("{}:{:016x}", text.size(), value);
}

// {"output"}, {"raised"} or {"error"} as record.py writes them; `kept` is what it keeps of a text.
void expect_as_recorded(std::string_view source, const Json& context, const Json& recorded, const std::string& label,
                        std::string (*kept)(const std::string&)) {
  SCOPED_TRACE(label);
  Json result;
  std::string message;
  try {
    result["output"] = ChatTemplate::parse(source).render_json(context.dump(), recorded_now());
  } catch (const TemplateRaised& raised) {
    result["raised"] = raised.message();
  } catch (const Error& error) {
    result["error"] = true;
    message = error.what();
  }
  if (recorded.contains("error")) {
    ASSERT_TRUE(result.contains("error")) << "Jinja2: " << recorded["error"] << ", here: " << result.dump();
    // An unclosed tag is reported where it opens (Jinja2: where the template ends); Python's own SyntaxError counts the
    // lines of the code that Jinja2 generates.
    const bool comparable = message.find("has no end") == std::string::npos && recorded["error"] != "SyntaxError";
    if (recorded["line"].is_number() && comparable) {
      // Jinja2 knows the line of the statement; here it is that of the operator, which may be some lines further on.
      const int line = line_of(message), statement_line = recorded["line"].get<int>();
      EXPECT_GE(line, statement_line) << message;
      EXPECT_LE(line, statement_line + 5) << message;
    }
    return;
  }
  ASSERT_FALSE(result.contains("error")) << message;
  const char* key = recorded.contains("output") ? "output" : "raised";
  ASSERT_TRUE(result.contains(key)) << "expected " << recorded.dump() << ", here: " << result.dump();
  const auto text = result[key].get<std::string>();
  EXPECT_EQ(kept(text), recorded[key].get<std::string>()) << text;
}

TEST(JinjaReference, SmallTemplates) {
  const Json cases = golden_json("golden/chat/cases.json");
  EXPECT_GE(cases.size(), 150U);
  for (const Json& entry : cases) {
    const auto source = entry["template"].get<std::string>();
    expect_as_recorded(source, entry["context"], entry, source, whole);
  }
}

TEST(JinjaReference, ModelTemplates) {
  LATHE_NEED_SHARED("tokenizers/chat-templates");
  const Json contexts = golden_json("golden/chat/contexts.json");
  const Json recorded = golden_json("golden/chat/templates.json");
  EXPECT_GE(recorded.size(), 40U);
  for (const auto& [file, renderings] : recorded.items()) {
    const std::string source = read_file(test::shared("tokenizers/chat-templates/" + file));
    for (const auto& [name, rendering] : renderings.items()) {
      expect_as_recorded(source, contexts[name], rendering, file + " with " + name, digest);
    }
  }
}

}  // namespace
}  // namespace lathe::text
