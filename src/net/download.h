// A file from the web onto the disk: redirects followed, broken connections taken up where they broke (also by a later
// run of the program), the checksum compared, and the file in its place only when it is whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/cancel.h"
#include "net/url.h"

namespace lathe::net {

struct DownloadOptions {
  // 64 hexadecimal digits; empty: what URL.sha256 says, and when there is no such file beside it, nothing is compared.
  std::string sha256;
  std::uint64_t most_bytes = std::uint64_t{1} << 40;
  int tries = 5;                         // connections in a row that bring nothing
  std::chrono::milliseconds pause{500};  // before trying again; doubles
  std::chrono::seconds silence{30};      // how long a connection may bring nothing
  const CancelToken* cancel = nullptr;
  // Bytes on the disk so far, and in all (0: unknown).
  std::function<void(std::uint64_t done, std::uint64_t total)> on_progress;
};

struct DownloadResult {
  std::uint64_t bytes = 0, resumed_from = 0;
  std::string sha256;             // of the file
  bool checked = false;           // against options.sha256 or URL.sha256
  bool unknown_checksum = false;  // URL.sha256 is there, and none could be made out in it
};

// Writes `target`; what an earlier call left in `target`.part is gone on with when the server still has the same file
// (by ETag or date). Throws Error for an answer other than success, a checksum that differs (the bytes are thrown
// away), a file too large for the limit or the disk; Cancelled keeps the part.
DownloadResult download(const Url& url, const std::filesystem::path& target, const DownloadOptions& options);

// Lower-case hexadecimal digits of a file's SHA-256.
std::string sha256_of(const std::filesystem::path& path, const CancelToken* cancel = nullptr);

}  // namespace lathe::net
