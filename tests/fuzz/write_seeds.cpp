// Writes the seeds of one target as files: write_fuzz_seeds TARGET FOLDER.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"

namespace {

// By name, since those targets need more rooms than their seeds do.
std::vector<std::string> seeds_of(const std::string& target) {
  if (target == "model") return lathe::fuzz::model_seeds();
  if (target == "prefixes") return lathe::fuzz::prefixes_seeds();
  if (target == "serve") return lathe::fuzz::serve_seeds();
  return lathe::fuzz::target_named(target).seeds();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: write_fuzz_seeds TARGET FOLDER\n", stderr);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[2];
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const std::string& seed : seeds_of(argv[1])) {
      lathe::write_file(folder / ("seed-" + std::to_string(number++)), seed);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_fuzz_seeds: %s\n", error.what());
    return 1;
  }
  return 0;
}
