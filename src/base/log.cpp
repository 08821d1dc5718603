#include "base/log.h"

#include <atomic>
#include <cstdio>

namespace lathe {
namespace {

std::atomic<LogLevel> current_level{LogLevel::kWarning};

}  // namespace

void set_log_level(LogLevel level) { current_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() { return current_level.load(std::memory_order_relaxed); }

void log_line(LogLevel level, std::string_view message) {
  static constexpr std::string_view kPrefix[] = {"error: ", "warning: ", "", "debug: "};
  const std::string line = fmt::format("{}{}\n", kPrefix[static_cast<int>(level)], message);
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call per line, so that threads do not interleave
}

}  // namespace lathe
