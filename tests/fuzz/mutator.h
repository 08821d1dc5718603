// Deterministic damage for the ordinary tests: what a broken disk, a cut download or a hostile author does to a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::fuzz {

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {}
  // The n-th mutation: one to three changes of one seed.
  std::string mutation(std::uint64_t n) const;

 private:
  std::vector<std::string> seeds_;
};

}  // namespace lathe::fuzz
