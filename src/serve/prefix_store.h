// A folder that keeps the prefix caches of a server's models from one run to the next, one file each. What goes wrong
// with a file costs one warning and the time to compute its prefixes again, never a request.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/session.h"

namespace lathe::serve {

class PrefixStore {
 public:
  // Makes `folder`, for its owner only, when there is none; throws Error when that fails. A model's file is of at most
  // `most_bytes` bytes. Removes what servers that died while saving have left.
  PrefixStore(std::filesystem::path folder, std::uint64_t most_bytes);

  // Before the session runs anything. `fingerprint` is that of the files of the model called `name`.
  void restore(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const;
  // When nothing runs any more.
  void save(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const;

 private:
  std::filesystem::path file(const std::string& name, std::uint64_t fingerprint) const;
  std::filesystem::path folder_;
  std::uint64_t most_bytes_;
};

}  // namespace lathe::serve
