// The program's entry: finds the verb, runs it, and turns errors into messages and exit statuses (0 success, 1 failure,
// 2 bad usage, 130 interrupted).
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancel.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace {

using namespace lathe;
using namespace lathe::cli;

std::string overview() {
  std::string text =
      "lathe runs and measures language models.\n\n"
      "usage: lathe <verb> [MODEL] [options]\n\n";
  for (const Verb& verb : verbs()) text += fmt::format("  {:<12}{}\n", verb.name, verb.summary);
  text +=
      "\nMODEL is a .gguf, .safetensors, .lathe or llama2.c .bin file, a Hugging Face folder, or tiny, the small "
      "model\n"
      "inside this program. lathe <verb> -h shows every option of a verb with its default; lathe --version the "
      "version.\n";
  return text;
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::fputs(overview().c_str(), stderr);
    return kExitUsage;
  }
  const std::string& name = arguments.front();
  if (name == "-h" || name == "--help" || name == "help") {
    print_text(overview());
    return kExitSuccess;
  }
  std::vector<std::string_view> names;
  for (const Verb& verb : verbs()) {
    if (verb.name == name) return verb.run(Arguments(arguments).subspan(1));
    names.push_back(verb.name);
  }
  names.insert(names.end(), {"--help", "--version"});
  throw UsageError(fmt::format("unknown {} '{}'", name.starts_with('-') ? "option" : "verb", name), "lathe",
                   fmt::format("the nearest is '{}'; lathe --help lists all", nearest_names(name, names, 1).front()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::puts("lathe " LATHE_VERSION);
    return kExitSuccess;
  }
  try {
    install_interrupt_handler();
    return dispatch(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const Cancelled&) {
    return kExitInterrupted;
  } catch (const UsageError& error) {
    log_line(LogLevel::kError, error.what());
    return kExitUsage;
  } catch (const std::bad_alloc&) {
    log_line(LogLevel::kError, "out of memory (a smaller -c or a more compact model may fit)");
  } catch (const std::exception& error) {
    log_line(LogLevel::kError, error.what());
  }
  return kExitFailure;
}
