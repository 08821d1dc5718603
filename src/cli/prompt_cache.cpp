#include "cli/prompt_cache.h"

#include <filesystem>
#include <limits>

#include "base/log.h"

namespace lathe::cli {

void add_prompt_cache_option(Options& options, std::optional<std::string>& file) {
  options.value("--prompt-cache", file, "FILE",
                "begin with what the run that wrote FILE had read of its prompt, and write it again at the end");
}

void load_prompt_cache(const std::optional<std::string>& file, const OpenModel& open) {
  std::error_code ignored;
  if (!file || !std::filesystem::exists(*file, ignored)) return;
  try {
    const std::uint64_t tokens = open.session->load_prefixes(*file, open.fingerprint);
    log_debug("{}: {} tokens restored", *file, tokens);
  } catch (const Error& error) {
    throw Error(error.problem(), error.where(), "remove the file, or choose another --prompt-cache");
  }
}

void save_prompt_cache(const std::optional<std::string>& file, const OpenModel& open) {
  if (!file) return;
  try {
    const std::uint64_t tokens =
        open.session->save_prefixes(*file, open.fingerprint, std::numeric_limits<std::uint64_t>::max());
    log_debug("{}: {} tokens saved", *file, tokens);
  } catch (const Error& error) {
    log_warning("{}; the prompt cache was not saved", error.what());
  }
}

}  // namespace lathe::cli
