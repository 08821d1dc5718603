// What a crash or a full disk leaves behind: the old file, whole, and no half-written one under its name.
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/file.h"
#include "formats/model_file.h"
#include "formats/synth.h"
#include "support/data.h"

namespace lathe::formats {
namespace {

using test::TempDir;

class SaveAtomically : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const std::uint64_t seed : {1, 2}) {
      const auto path = folder_ / fmt::format("source{}.gguf", seed);
      synthesize(synth_preset("gpt2-tiny"), path, {.codec = "F16", .seed = seed});
      sources_.push_back(load_model(path));
    }
    target_ = folder_ / GetParam();
  }

  // 1 or 2 when the target holds exactly that source's weights; 0 otherwise.
  int which() const {
    const ModelFile model = load_model(target_);
    for (int i = 0; i < 2; ++i) {
      bool same = true;
      for (const auto& [name, tensor] : sources_[i].weights.all()) {
        same = same && model.weights.at(name).parts[0].data.text() == tensor.parts[0].data.text();
      }
      if (same) return i + 1;
    }
    return 0;
  }

  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      if (entry.path().string().find(".partial-") != std::string::npos) names.push_back(entry.path());
    }
    return names;
  }

  const TempDir folder_;
  std::filesystem::path target_;
  std::vector<ModelFile> sources_;
};

TEST_P(SaveAtomically, KillingTheWriterLeavesAWholeModel) {
  save_model(sources_[0], target_);
  ASSERT_EQ(which(), 1);
  for (int round = 0; round < 12; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        for (int i = 1;; ++i) save_model(sources_[i % 2], target_);
      } catch (...) {
        ::_exit(1);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + 7 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed on its own";
    EXPECT_NE(which(), 0) << "round " << round;
  }
}

TEST_P(SaveAtomically, AFullDiskIsAnErrorAndTheOldModelStays) {
  save_model(sources_[0], target_);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Files may not grow beyond the limit, as if the disk were full there; every write beyond fails.
    std::signal(SIGXFSZ, SIG_IGN);
    int failures = 0;
    for (rlim_t bytes = 0; bytes < 400'000; bytes += 40'000) {
      struct ::rlimit limit;
      ::getrlimit(RLIMIT_FSIZE, &limit);
      limit.rlim_cur = bytes;
      ::setrlimit(RLIMIT_FSIZE, &limit);
      try {
        save_model(sources_[1], target_);
      } catch (const Error&) {
        ++failures;
      } catch (...) {
      }
    }
    ::_exit(failures);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 10);
  EXPECT_EQ(which(), 1);
  EXPECT_EQ(leftovers(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Layouts, SaveAtomically, testing::Values("m.gguf", "m.lathe", "m.safetensors", "hf"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(name.find('.') + 1);
                         });

}  // namespace
}  // namespace lathe::formats
