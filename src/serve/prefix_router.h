// Which of a model's engines takes a request: the one that has read most of its prompt already, unless so much waits
// there that reading it again elsewhere is sooner done (prefix affinity; Parrot, Lin et al. 2024, section 5.4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::serve {

class PrefixRouter {
 public:
  // Prefixes are told apart in whole blocks of so many tokens; of so many at most it is known who has read them.
  static constexpr std::size_t kBlock = 32, kMostPrefixes = std::size_t{1} << 16;
  static constexpr std::size_t kMostEngines = 64;
  // `engines`: kMostEngines at most. `places`: calls that an engine generates together.
  PrefixRouter(std::size_t engines, std::size_t places) : engines_(engines), places_(places) {}

  // The engine for this prompt, and remembers that it will have read it. `scope` names what else its KV blocks depend
  // on; `outstanding`: calls that wait or run, by engine. From any thread.
  std::size_t choose(std::string_view scope, std::span<const text::TokenId> prompt,
                     std::span<const std::uint64_t> outstanding);

  // A prefix, by a hash, and who has read it: bit i stands for engine i.
  struct Remembered {
    std::uint64_t prefix = 0, engines = 0;
    bool operator==(const Remembered&) const = default;
  };
  // What it knows, the least recently used first; and the other way, of those `engines` only, for one that knows
  // nothing yet.
  std::vector<Remembered> memory() const;
  void recall(std::span<const Remembered> memory, std::uint64_t engines);

 private:
  struct Known {
    std::uint64_t engines = 0;  // a bit each
    std::uint64_t last_used = 0;
  };
  void remember(std::uint64_t prefix, std::uint64_t engines);

  const std::size_t engines_, places_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Known> prefixes_;  // by a hash: taking one for another costs time, nothing else
  std::map<std::uint64_t, std::uint64_t> by_use_;      // last use -> prefix
  std::uint64_t clock_ = 0;
  std::size_t turn_ = 0;  // where the search begins, so that equals take turns
};

}  // namespace lathe::serve
