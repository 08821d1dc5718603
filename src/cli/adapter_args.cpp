#include "cli/adapter_args.h"

#include <charconv>

#include "formats/adapter_file.h"

namespace lathe::cli {
namespace {

struct Named {
  std::string path;
  float scale = 1;
};

// "lora/" or "lora/:0.5"; a colon that no number follows belongs to the path.
Named parse(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size()) return {text};
  float scale = 1;
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data() + colon + 1, end, scale);
  if (status != std::errc{} || stop != end) return {text};
  return {text.substr(0, colon), scale};
}

}  // namespace

void add_adapter_option(Options& options, AdapterArgs& args) {
  options.list("--adapter", args.adapters, "FILE[:SCALE]",
               "apply a LoRA adapter (a PEFT folder or a GGUF adapter), its update times SCALE; may be repeated");
}

std::vector<api::AdapterUse> open_adapters(const AdapterArgs& args, const OpenModel& open) {
  std::vector<api::AdapterUse> uses;
  for (const std::string& text : args.adapters) {
    const Named named = parse(text);
    // The number keeps the same file given twice apart.
    uses.emplace_back(fmt::format("{} {}", uses.size(), text));
    open.session->add_adapter(uses.back().name, formats::load_adapter(named.path, open.file.architecture), named.scale);
  }
  return uses;
}

}  // namespace lathe::cli
