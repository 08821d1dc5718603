// A folder that keeps the prefix caches of a server's models from one run to the next, one file each. What goes wrong
// with a file costs one warning and the time to compute its prefixes again, never a request.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "engine/session.h"
#include "serve/prefix_router.h"

namespace lathe::serve {

class PrefixStore {
 public:
  // Makes `folder`, for its owner only, when there is none; throws Error when that fails. A model's file is of at most
  // `most_bytes` bytes. Removes what servers that died while saving have left.
  PrefixStore(std::filesystem::path folder, std::uint64_t most_bytes);

  // Before the session runs anything; returns the tokens that are there now. `fingerprint` is that of the files of the
  // model called `name`.
  std::uint64_t restore(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const;
  // When nothing runs any more.
  void save(engine::Session& session, const std::string& name, std::uint64_t fingerprint) const;
  // The same for what is known of several engines: which of them has read what. Of `engines` (bits) prefixes were
  // restored; of the others nothing is recalled.
  void restore(PrefixRouter& router, const std::string& name, std::uint64_t fingerprint, std::uint64_t engines) const;
  void save(const PrefixRouter& router, const std::string& name, std::uint64_t fingerprint) const;

 private:
  std::filesystem::path file(const std::string& name, std::uint64_t fingerprint, std::string_view extension) const;
  std::filesystem::path folder_;
  std::uint64_t most_bytes_;
};

}  // namespace lathe::serve
