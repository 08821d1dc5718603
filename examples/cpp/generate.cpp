// Continues a prompt with a model, in C++: generate MODEL [PROMPT].
#include <iostream>
#include <lathe/lathe.hpp>

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: generate MODEL [PROMPT]\n";
    return 2;
  }
  const std::string prompt = argc > 2 ? argv[2] : "Once upon a time";
  lathe::LanguageModel model(argv[1]);
  lathe::GenerateSettings settings;
  settings.max_tokens = 64;
  settings.temperature = 0;
  std::cout << prompt;
  const lathe::Generated story = model.generate(prompt, settings, [](std::string_view piece) {
    std::cout << piece << std::flush;
    return true;
  });
  std::cout << "\n";
  std::cerr << story.generated_tokens << " tokens\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
