// Writes the seeds of one target as files: write_fuzz_seeds TARGET FOLDER.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: write_fuzz_seeds TARGET FOLDER\n", stderr);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[2];
    std::filesystem::create_directories(folder);
    int number = 0;
    const bool model = std::string(argv[1]) == "model";
    for (const std::string& seed : model ? lathe::fuzz::model_seeds() : lathe::fuzz::target_named(argv[1]).seeds()) {
      lathe::write_file(folder / ("seed-" + std::to_string(number++)), seed);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_fuzz_seeds: %s\n", error.what());
    return 1;
  }
  return 0;
}
