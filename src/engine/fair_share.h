// Who has had how much: the virtual token counter (Sheng et al. 2024, "Fairness in serving large language models",
// algorithm 2). Every client's counter grows with the tokens computed for it, and whoever has the smallest goes next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace lathe::engine {

class FairShare {
 public:
  // A job of `client` enters or leaves the system. A client that comes back starts level with the least served of those
  // at work: being away earns nothing.
  void arrive(std::string_view client);
  void leave(std::string_view client);
  // Tokens computed for one of its jobs; generated ones weigh kDecodeWeight.
  void charge(std::string_view client, std::uint64_t prefill_tokens, std::uint64_t decode_tokens);
  std::uint64_t served(std::string_view client) const;

  static constexpr std::uint64_t kDecodeWeight = 2;     // against 1 for a prompt's token (section 4.2 of the paper)
  static constexpr std::size_t kMostRemembered = 4096;  // clients without jobs beyond this many are forgotten

 private:
  struct Account {
    std::uint64_t served = 0, jobs = 0;
  };
  std::map<std::string, Account, std::less<>> accounts_;
};

}  // namespace lathe::engine
