// How much of the machine's cores the container or service this process runs in may use: the CPU quota of its control
// groups (cgroup v2's cpu.max, v1's cpu.cfs_quota_us).
#pragma once

#include <filesystem>
#include <optional>

namespace lathe {

// In cores, possibly a fraction: the smallest quota of the process's group and of those around it, as far as they can
// be seen. Nothing when there is none, or none that can be read. `root` stands before /proc and /sys.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

}  // namespace lathe
