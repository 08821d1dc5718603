// Writers that die inside a write or meet a full file system: the old file stays whole. Every layout that Lathe writes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/checked.h"
#include "base/file.h"
#include "base/log.h"
#include "formats/model_file.h"
#include "fuzz/raw_files.h"
#include "support/data.h"

namespace lathe::fuzz {
namespace {

namespace fs = std::filesystem;
using formats::ModelFile;

// Two models of one shape that differ in every weight. The second is larger than the writer's buffer, so that it is
// written in several pieces.
ModelFile model_of(std::string_view codec, std::uint32_t vocab) {
  RawGguf raw_file = raw_model("llama", codec);
  for (const char* name : {"token_embd.weight", "output.weight"}) {
    RawGguf::Tensor& tensor = raw_file.tensor(name);
    std::string data;
    while (data.size() < std::size_t{vocab} * tensor.data.size() / 16) data += tensor.data;
    tensor.data = data;
    tensor.extents[1] = vocab;
  }
  raw_file.set_u32("llama.vocab_size", vocab);
  return formats::load_model(Bytes::copy_of(raw_file.bytes(), "model"));
}

bool same(const ModelFile& a, const ModelFile& b) {
  if (a.weights.all().size() != b.weights.all().size() || a.architecture.vocab_size != b.architecture.vocab_size)
    return false;
  return std::all_of(a.weights.all().begin(), a.weights.all().end(), [&](const auto& item) {
    const PackedTensor* other = b.weights.find(item.first);
    return other != nullptr && other->codec == item.second.codec &&
           other->parts[0].data.text().size() == item.second.parts[0].data.text().size();
  });
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

struct Layout {
  const char* name;
  const char* file;
  std::uint64_t split_bytes = 0;
};

void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.name; }

class Writers : public testing::TestWithParam<Layout> {
 protected:
  fs::path path() const { return folder_ / GetParam().file; }
  // The first file of a set stands for it.
  fs::path loaded() const {
    if (GetParam().split_bytes == 0) return path();
    for (const std::string& name : names_in(folder_.path())) {
      if (name.find("-00001-of-") != std::string::npos) return folder_ / name;
    }
    return path();
  }
  void save(const ModelFile& model) const {
    formats::save_model(model, path(), {.split_bytes = GetParam().split_bytes});
  }

  // Runs save() in a child; `before` prepares the child.
  template <class Before>
  pid_t save_in_child(const ModelFile& model, Before before) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    int status = 0;
    try {
      before();
      save(model);
    } catch (const Error&) {
      status = 7;
    } catch (...) {
      status = 8;
    }
    ::_exit(status);
  }

  // What a later run would leave alone or overwrite: rests of writers that were killed.
  void remove_rests() const {
    for (const std::string& name : names_in(folder_.path())) {
      if (name.find(".partial-") != std::string::npos) fs::remove_all(folder_ / name);
    }
  }

  test::TempDir folder_;
  ModelFile old_ = model_of("F16", 16), new_ = model_of("F32", 40'000);
};

// RLIMIT_FSIZE ends the process inside the write that would pass an exact size (tests/formats kills at random moments).
TEST_P(Writers, DyingInsideAnyWriteLeavesTheOldFile) {
  if (GetParam().split_bytes == 0) save(old_);
  const std::vector<std::string> before = names_in(folder_.path());
  for (const rlim_t limit : {0ul, 1ul, 100ul, 4096ul, 65'536ul, 1'048'575ul, 1'048'576ul, 1'048'577ul, 3'000'000ul}) {
    const pid_t child = save_in_child(new_, [&] {
      ::signal(SIGXFSZ, SIG_DFL);
      const rlimit core{0, 0}, size{limit, limit};
      ::setrlimit(RLIMIT_CORE, &core);
      ::setrlimit(RLIMIT_FSIZE, &size);
    });
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << limit << " bytes: the writer did not die";
    EXPECT_EQ(WTERMSIG(status), SIGXFSZ);
    remove_rests();
    EXPECT_EQ(names_in(folder_.path()), before) << limit;
    if (GetParam().split_bytes == 0) {
      EXPECT_TRUE(same(formats::load_model(loaded()), old_)) << limit;
    }
  }
  save(new_);  // the rests of the dead are in nobody's way
  EXPECT_TRUE(same(formats::load_model(loaded()), new_));
}

// A file system that is really full, where one can be mounted.
TEST_P(Writers, AFullFileSystemLeavesTheOldFileAndNothingElse) {
  if (::mount("lathe-test", folder_.path().c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "SKIPPED: a tmpfs cannot be mounted here";
  }
  std::string message = "no error";
  try {
    if (GetParam().split_bytes == 0) save(old_);
    const std::vector<std::string> before = names_in(folder_.path());
    try {
      save(new_);
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_EQ(names_in(folder_.path()), before);
    if (GetParam().split_bytes == 0) {
      EXPECT_TRUE(same(formats::load_model(loaded()), old_));
    }
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  ::umount2(folder_.path().c_str(), MNT_DETACH);
  EXPECT_NE(message.find("No space left"), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(Layouts, Writers,
                         testing::Values(Layout{"gguf", "m.gguf"}, Layout{"split_gguf", "m.gguf", 3'100'000},
                                         Layout{"safetensors", "m.safetensors"}, Layout{"lathe", "m.lathe"},
                                         Layout{"folder", "m"}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace lathe::fuzz
