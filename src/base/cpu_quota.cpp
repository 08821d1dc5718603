#include "base/cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace lathe {
namespace {

namespace fs = std::filesystem;

// The next word of a file as a number above 0.
std::optional<double> positive(std::istream& file) {
  std::string word;
  std::uint64_t value = 0;
  file >> word;
  const auto [stop, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status != std::errc{} || stop != word.data() + word.size() || value == 0) return std::nullopt;
  return static_cast<double>(value);
}

// One group's own: v2 has "QUOTA PERIOD" in microseconds ("max" for no quota), v1 a file each (-1 for no quota).
std::optional<double> quota_of_group(const fs::path& group) {
  std::ifstream both(group / "cpu.max"), quota_file(group / "cpu.cfs_quota_us"),
      period_file(group / "cpu.cfs_period_us");
  std::optional<double> quota = positive(both), period = positive(both);
  if (!quota) quota = positive(quota_file), period = positive(period_file);
  if (!quota || !period) return std::nullopt;
  return *quota / *period;
}

bool lists_cpu(std::string_view controllers) {
  for (std::size_t begin = 0; begin <= controllers.size();) {
    const std::size_t end = std::min(controllers.find(',', begin), controllers.size());
    if (controllers.substr(begin, end - begin) == "cpu") return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& root) {
  const fs::path mount = root / "sys/fs/cgroup";
  std::optional<double> least;
  // From the group up to where the groups are mounted: in a container that may be the group itself, whatever its path.
  const auto look = [&](const fs::path& top, const fs::path& path) {
    fs::path group = top / path.relative_path();
    for (;; group = group.parent_path()) {
      if (const auto quota = quota_of_group(group)) least = std::min(least.value_or(*quota), *quota);
      if (group == top || group == group.parent_path()) return;
    }
  };
  fs::path v2 = "/", v1 = "/";  // as /proc/self/cgroup says: "0::PATH", "7:cpu,cpuacct:PATH"
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path path = fs::path("/" + line.substr(second + 1)).lexically_normal();
    if (controllers.empty()) v2 = path;
    if (lists_cpu(controllers)) v1 = path;
  }
  look(mount, v2);
  look(mount / "cpu", v1);
  look(mount / "cpu,cpuacct", v1);
  return least;
}

}  // namespace lathe
