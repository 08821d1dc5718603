// Where test data lies, and what to do when it does not.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace lathe::test {

// The project's root folder.
std::filesystem::path source_dir();

// A file under tests/ (golden vectors, small corpora).
std::filesystem::path golden(std::string_view relative);

// A file of the shared data beside the project (models/, tokenizers/, data/), or of the folder LATHE_SHARED names.
std::filesystem::path shared(std::string_view relative);

// A fresh folder, removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace lathe::test

// Skips a test by name when a shared file is absent.
#define LATHE_NEED_SHARED(relative)                                            \
  do {                                                                         \
    if (!std::filesystem::exists(::lathe::test::shared(relative)))             \
      GTEST_SKIP() << "SKIPPED: shared data file not present: " << (relative); \
  } while (false)
