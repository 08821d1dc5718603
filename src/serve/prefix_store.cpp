#include "serve/prefix_store.h"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <string_view>

#include "base/log.h"
#include "serve/router_file.h"

namespace lathe::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefixes = ".prefixes", kRouter = ".router";
constexpr std::size_t kLongestName = 100;  // file systems allow 255 bytes, of which others need some

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// A model's name without what means something in a path. Two names may become one: the fingerprint tells models apart.
std::string in_file_name(std::string_view name) {
  std::string safe(name.substr(0, kLongestName));
  for (char& c : safe) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    if (!plain) c = '_';
  }
  if (safe.starts_with('.')) safe.front() = '_';
  return safe;
}

// Whether `name` is that of a file which AtomicFile was writing for a store when its process died.
bool is_rest_of_the_dead(std::string_view name) {
  constexpr std::string_view kMark = ".partial-";
  const std::size_t mark = name.rfind(kMark);
  if (mark == std::string_view::npos) return false;
  const std::string_view target = name.substr(0, mark);
  if (!target.ends_with(kPrefixes) && !target.ends_with(kRouter)) return false;
  const std::string_view number = name.substr(mark + kMark.size());
  pid_t process = 0;
  const auto [end, status] = std::from_chars(number.data(), number.data() + number.size(), process);
  if (status != std::errc{} || end != number.data() + number.size() || process <= 0) return false;
  return ::kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

PrefixStore::PrefixStore(fs::path folder, std::uint64_t most_bytes)
    : folder_(std::move(folder)), most_bytes_(most_bytes) {
  std::error_code code, ignored;
  if (fs::create_directories(folder_, code)) {
    fs::permissions(folder_, fs::perms::owner_all, code);
  } else if (!code && !fs::is_directory(folder_, ignored)) {
    code = std::make_error_code(std::errc::not_a_directory);
  }
  if (code)
    throw Error("cannot be made a folder: " + code.message(), folder_.string(), "choose another --prefix-store");
  for (fs::directory_iterator entry(folder_, code), end; !code && entry != end; entry.increment(code)) {
    if (is_rest_of_the_dead(entry->path().filename().string())) fs::remove(entry->path(), ignored);
  }
}

fs::path PrefixStore::file(const std::string& name, std::uint64_t fingerprint, std::string_view extension) const {
  return folder_ / fmt::format("{}-{:016x}{}", in_file_name(name), fingerprint, extension);
}

std::uint64_t PrefixStore::restore(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const {
  const fs::path path = file(name, fingerprint, kPrefixes);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return 0;
  try {
    const Stopwatch time;
    const std::uint64_t tokens = session.load_prefixes(path, fingerprint);
    log_info("{}: {} tokens of prefixes restored from {} in {:.2f} s", name, tokens, path.string(), time.seconds());
    return tokens;
  } catch (const Error& error) {
    log_warning("{}; {} starts without prefixes", error.what(), name);
    return 0;
  }
}

void PrefixStore::save(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const {
  if (session.stats().prompt_tokens == 0) return;  // nothing ran: what was restored is in the file
  const fs::path path = file(name, fingerprint, kPrefixes);
  try {
    const Stopwatch time;
    const std::uint64_t tokens = session.save_prefixes(path, fingerprint, most_bytes_);
    if (tokens > 0)
      log_info("{}: {} tokens of prefixes saved to {} in {:.2f} s", name, tokens, path.string(), time.seconds());
  } catch (const Error& error) {
    log_warning("{}; the prefixes of {} were not saved", error.what(), name);
  }
}

void PrefixStore::restore(PrefixRouter& router, const std::string& name, std::uint64_t fingerprint,
                          std::uint64_t engines) const {
  const fs::path path = file(name, fingerprint, kRouter);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  try {
    router.recall(load_router_memory(path), engines);
  } catch (const Error& error) {
    log_warning("{}; {} starts without knowing which engine has read what", error.what(), name);
  }
}

void PrefixStore::save(const PrefixRouter& router, const std::string& name, std::uint64_t fingerprint) const {
  const std::vector<PrefixRouter::Remembered> memory = router.memory();
  if (memory.empty()) return;
  try {
    save_router_memory(file(name, fingerprint, kRouter), memory);
  } catch (const Error& error) {
    log_warning("{}; which engine of {} has read what was not saved", error.what(), name);
  }
}

}  // namespace lathe::serve
