// lathe pull: a model from the web into the model folder.
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "base/cancel.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/common.h"
#include "cli/model_folder.h"
#include "cli/verbs.h"
#include "net/download.h"

namespace lathe::cli {

namespace fs = std::filesystem;

int pull_verb(Arguments arguments) {
  OutputArgs output;
  std::string address;
  std::optional<std::string> name, checksum;
  std::uint64_t most_bytes = std::uint64_t{1} << 40;
  std::uint32_t tries = 5;
  bool again = false;
  Options options(
      "pull", "URL [options]",
      "Fetches a model file into the model folder ($LATHE_MODELS, or ~/.local/share/lathe/models), where its "
      "name is enough to use it. What was interrupted goes on where it stopped.");
  options.positional("URL", address, "an http or https address of a file", true);
  options.value("--name", name, "NAME", "what to call it, with its ending; otherwise as the address does");
  options.value("--sha256", checksum, "HEX",
                "refuse anything else; otherwise URL.sha256 is compared, when the server has it");
  options.size("--max-size", most_bytes, "refuse files of more bytes");
  options.value("--tries", tries, "N", "connections in a row that may bring nothing");
  options.flag("--force", again, "fetch it although a file of that name is there");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  if (tries == 0 || tries > 1000) throw UsageError("--tries must be 1 to 1000");
  const net::Url url = net::parse_url(address);
  const std::string named = name ? *name : net::file_name(url);
  if (named.empty()) throw UsageError("names no file", address, "say with --name what to call it");
  check_model_path(named);
  const fs::path target = model_folder() / named;
  std::error_code error;
  if (!again && fs::exists(target, error)) throw Error("is there already", target.string(), "--force fetches it anew");
  fs::create_directories(target.parent_path(), error);
  if (error) fail(target.parent_path().string(), "cannot be made: {}", error.message());

  net::DownloadOptions download;
  download.sha256 = checksum.value_or("");
  download.most_bytes = most_bytes;
  download.tries = static_cast<int>(tries);
  download.cancel = &interrupt_token();
  std::unique_ptr<Progress> progress;
  const auto started = std::chrono::steady_clock::now();
  download.on_progress = [&](std::uint64_t done, std::uint64_t total) {
    if (progress == nullptr) progress = std::make_unique<Progress>(target.filename().string(), total, !output.quiet);
    progress->set(done);
  };
  net::DownloadResult result;
  try {
    result = net::download(url, target, download);
  } catch (const Cancelled&) {
    progress.reset();
    log_info("interrupted; the same command goes on from here");
    throw;
  }
  progress.reset();
  if (result.unknown_checksum)
    log_warning("{}: no SHA-256 could be made out in the .sha256 beside it; nothing was compared", url.text());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  if (output.json) {
    print_json({{"name", target.lexically_relative(model_folder()).string()},
                {"path", target.string()},
                {"bytes", result.bytes},
                {"resumed_from", result.resumed_from},
                {"sha256", result.sha256},
                {"checked", result.checked},
                {"seconds", seconds}});
  } else {
    print_text(target.string() + "\n");
    log_info("{}, SHA-256 {}{}", readable_bytes(result.bytes), result.sha256,
             result.checked ? " as it should be" : ", which nothing was compared with");
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
