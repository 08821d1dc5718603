// CPU quotas out of control groups laid out below a root of the test's own.
#include "base/cpu_quota.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

#include "support/data.h"

namespace lathe {
namespace {

using Files = std::map<std::string, std::string>;

std::optional<double> quota_of(const Files& files) {
  const test::TempDir root;
  for (const auto& [name, text] : files) {
    std::filesystem::create_directories((root / name).parent_path());
    std::ofstream(root / name) << text;
  }
  return cpu_quota(root.path());
}

TEST(CpuQuota, FollowsTheProcessToItsGroup) {
  const std::string v2 = "sys/fs/cgroup/", v1 = "sys/fs/cgroup/cpu/", both = "sys/fs/cgroup/cpu,cpuacct/";
  // A container: its group is what is mounted.
  EXPECT_EQ(quota_of({{"proc/self/cgroup", "0::/\n"}, {v2 + "cpu.max", "250000 100000\n"}}), 2.5);
  EXPECT_EQ(quota_of({{v2 + "cpu.max", "250000 100000\n"}}), 2.5);
  EXPECT_EQ(quota_of({{"proc/self/cgroup", "0::/docker/0123\n"}, {v2 + "cpu.max", "300000 100000\n"}}), 3);
  // A service or a job: the smallest on the way up to the root, which has none.
  const Files nested = {{"proc/self/cgroup", "0::/user.slice/job.scope/inner\n"},
                        {v2 + "user.slice/cpu.max", "800000 100000\n"},
                        {v2 + "user.slice/job.scope/cpu.max", "400000 100000\n"},
                        {v2 + "user.slice/job.scope/inner/cpu.max", "max 100000\n"},
                        {v2 + "other/cpu.max", "100000 100000\n"}};
  EXPECT_EQ(quota_of(nested), 4);
  // v1, beside other hierarchies and v2 without controllers.
  const std::string groups = "12:cpuset:/a\n4:cpuacct,cpu:/jobs/7\n1:name=systemd:/b\n0::/c\n";
  for (const std::string& mount : {v1, both}) {
    EXPECT_EQ(quota_of({{"proc/self/cgroup", groups},
                        {mount + "cpu.cfs_quota_us", "-1\n"},
                        {mount + "cpu.cfs_period_us", "100000\n"},
                        {mount + "jobs/7/cpu.cfs_quota_us", "150000\n"},
                        {mount + "jobs/7/cpu.cfs_period_us", "100000\n"}}),
              1.5);
  }
  EXPECT_EQ(quota_of({{v1 + "cpu.cfs_quota_us", "200000\n"}, {v1 + "cpu.cfs_period_us", "100000\n"}}), 2);
}

TEST(CpuQuota, IsNothingWhereNoneCanBeRead) {
  EXPECT_EQ(quota_of({}), std::nullopt);
  for (const char* text :
       {"max 100000\n", "", "\n", "many 100000\n", "100000\n", "100000 0\n", "0 100000\n", "-1 100000\n", "1e9 x\n",
        "99999999999999999999999999 100000\n", "100000 100000x\n", "nan nan\n"}) {
    EXPECT_EQ(quota_of({{"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/a/cpu.max", text}}), std::nullopt) << text;
  }
  for (const char* text : {"-1\n", "", "max\n", "0\n", "1e5\n", "100000x\n", "99999999999999999999999999\n"}) {
    for (const bool is_quota : {true, false}) {
      EXPECT_EQ(quota_of({{"sys/fs/cgroup/cpu/cpu.cfs_quota_us", is_quota ? text : "100000"},
                          {"sys/fs/cgroup/cpu/cpu.cfs_period_us", is_quota ? "100000" : text}}),
                std::nullopt)
          << text;
    }
  }
  // Paths that lead nowhere are followed nowhere.
  for (const char* groups : {"0::/../../../elsewhere\n", "0:/\n", "::::\n", "no colons\n", "0::relative (deleted)\n"}) {
    EXPECT_EQ(quota_of({{"proc/self/cgroup", groups}, {"elsewhere/cpu.max", "100000 100000\n"}}), std::nullopt)
        << groups;
  }
}

}  // namespace
}  // namespace lathe
