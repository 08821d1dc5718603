// Two calls and a third that reads what they say, run by a Lathe server in one request: program URL [TEXT].
#include <iostream>
#include <lathe/semantic.hpp>

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: program URL [TEXT]\n";
    return 2;
  }
  const auto call = [](const std::string& text, const std::string& output) {
    return lathe::SemanticCall{text + "{{" + output + "}}", {{output, true, "trim"}}, 24};
  };
  const std::vector<lathe::SemanticCall> calls = {
      call("{{text}} She saw ", "saw"),
      call("{{text}} She said ", "said"),
      call("{{text}} She saw {{saw}} She said {{said}} In the end ", "end"),
  };
  const std::string text = argc > 2 ? argv[2] : "Lily went to the park.";
  for (const auto& [name, value] : lathe::run_program(argv[1], calls, {{"text", text}}, {"saw", "said", "end"}))
    std::cout << name << ": " << value << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
