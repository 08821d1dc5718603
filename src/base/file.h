// Files: read-only mappings, whole-file reads with a limit, and writers that leave the old file whole until the new one
// is complete on disk (written beside the target, synced, renamed).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/checked.h"

namespace lathe {

// Maps a regular file read-only. The bytes live as long as any Bytes made from it.
Bytes map_file(const std::filesystem::path& path);

// Tells the kernel that the pages wholly inside `bytes` are not needed in memory any more; they are read again when
// they are. Does nothing to bytes that are not of a mapped file.
void drop_pages(std::span<const std::byte> bytes);

// Memory of zeros that lies in a file of `folder`, which nobody else sees and which goes with the last reference: the
// system writes what it has no room for there. The room is reserved: throws Error naming the folder when it is not
// there.
std::shared_ptr<void> map_scratch(const std::filesystem::path& folder, std::uint64_t bytes);

// Asks the system to write the pages wholly inside such memory to their file and to keep them there until they are read
// or written again.
void page_out(void* memory, std::uint64_t bytes);

// Reads a whole file of at most `limit` bytes ("-" reads standard input).
std::string read_file(const std::filesystem::path& path, std::uint64_t limit = std::uint64_t{1} << 30);

// Writes beside `path` and renames into place in commit(); without commit() the target is untouched and the temporary
// file removed. Every failure (full disk included) throws an Error naming the file.
class AtomicFile {
 public:
  // `mode`: permission bits of the new file, less what the process's umask takes away.
  explicit AtomicFile(std::filesystem::path path, unsigned mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> data);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  template <class T>
  void write_value(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    write(std::as_bytes(std::span(&value, 1)));
  }
  // Zero bytes up to a multiple of `alignment`.
  void pad_to(std::uint64_t alignment);
  std::uint64_t position() const { return position_; }
  // Flushes, syncs and renames; after this the object writes no more.
  void commit();

 private:
  void flush();
  std::filesystem::path path_, temporary_;
  std::string buffer_;
  int descriptor_ = -1;
  std::uint64_t position_ = 0;
};

// The same for a folder: build its content under path(), then commit() swaps it into place.
class AtomicFolder {
 public:
  explicit AtomicFolder(std::filesystem::path target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

// Writes a small file in one go, atomically.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace lathe
