#include "support/data.h"

#include <cstdlib>
#include <random>

namespace lathe::test {

std::filesystem::path source_dir() { return LATHE_SOURCE_DIR; }

std::filesystem::path golden(std::string_view relative) { return source_dir() / "tests" / relative; }

std::filesystem::path shared(std::string_view relative) {
  if (const char* folder = std::getenv("LATHE_SHARED")) return std::filesystem::path(folder) / relative;
  return source_dir().parent_path() / "shared" / relative;
}

TempDir::TempDir() {
  std::random_device random;
  do {
    path_ =
        std::filesystem::temp_directory_path() / ("lathe-test-" + std::to_string(random()) + std::to_string(random()));
  } while (!std::filesystem::create_directory(path_));
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lathe::test
