#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "base/write_all.h"

namespace lathe {
namespace {

constexpr std::size_t kWriteBuffer = 1 << 20;

[[noreturn]] void fail_errno(const std::filesystem::path& path, std::string_view action, int code = errno) {
  std::string remedy;
  if (code == ENOSPC || code == EDQUOT) remedy = "free some space and run again; the old file is untouched";
  if (code == ENOENT) remedy = "check the path";
  if (code == EACCES) remedy = "check the permissions";
  throw Error(fmt::format("cannot {}: {}", action, std::strerror(code)), path.string(), remedy);
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// Where the living mappings lie: what drop_pages may drop. Never destroyed: mappings may outlive other static objects.
struct Mappings {
  std::mutex mutex;
  std::map<std::uintptr_t, std::uintptr_t> end_by_begin;
};
Mappings& mappings() {
  static Mappings& living = *new Mappings;
  return living;
}

// Begin and end of the pages that lie wholly inside these bytes; none when end <= begin.
std::pair<std::uintptr_t, std::uintptr_t> pages_inside(const void* memory, std::uint64_t bytes) {
  static const std::uintptr_t page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  return {(begin + page - 1) & ~(page - 1), (begin + bytes) & ~(page - 1)};
}

Descriptor open_for_reading(const std::filesystem::path& path, struct ::stat& status) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_errno(path, "open");
  if (::fstat(descriptor, &status) != 0) {
    const int code = errno;
    ::close(descriptor);
    fail_errno(path, "examine", code);
  }
  return Descriptor(descriptor);
}

void sync_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() >= 0) ::fsync(descriptor.get());  // some file systems refuse; the rename itself is still atomic
}

std::string temporary_name(const std::filesystem::path& path) {
  return fmt::format("{}.partial-{}", path.string(), ::getpid());
}

std::string read_descriptor(int descriptor, const std::filesystem::path& path, std::uint64_t limit) {
  std::string text;
  char chunk[1 << 16];
  for (;;) {
    const ssize_t got = ::read(descriptor, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(path, "read");
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
    if (text.size() > limit) fail(path.string(), "longer than the {} bytes allowed here", limit);
  }
}

}  // namespace

Bytes map_file(const std::filesystem::path& path) {
  struct ::stat status;
  const Descriptor descriptor = open_for_reading(path, status);
  if (S_ISDIR(status.st_mode)) fail(path.string(), "is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) fail(path.string(), "is not a regular file");
  const std::size_t size = static_cast<std::size_t>(status.st_size);
  if (size == 0) fail(path.string(), "is empty");
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (address == MAP_FAILED) fail_errno(path, "map");
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  {
    const std::lock_guard lock(mappings().mutex);
    mappings().end_by_begin[begin] = begin + size;
  }
  std::shared_ptr<const void> owner(address, [size](const void* mapped) {
    {
      const std::lock_guard lock(mappings().mutex);
      mappings().end_by_begin.erase(reinterpret_cast<std::uintptr_t>(mapped));
    }
    ::munmap(const_cast<void*>(mapped), size);
  });
  return Bytes({static_cast<const std::byte*>(address), size}, path.string(), std::move(owner));
}

void drop_pages(std::span<const std::byte> bytes) {
  const auto [begin, end] = pages_inside(bytes.data(), bytes.size());
  if (end <= begin) return;
  const std::lock_guard lock(mappings().mutex);
  const auto next = mappings().end_by_begin.upper_bound(begin);
  if (next == mappings().end_by_begin.begin() || end > std::prev(next)->second) return;
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::shared_ptr<void> map_scratch(const std::filesystem::path& folder, std::uint64_t bytes) {
  std::string name = (folder / "lathe-scratch-XXXXXX").string();
  const Descriptor descriptor(::mkostemp(name.data(), O_CLOEXEC));
  if (descriptor.get() < 0) fail_errno(folder, "make a scratch file");
  ::unlink(name.c_str());
  if (const int code = ::posix_fallocate(descriptor.get(), 0, static_cast<off_t>(bytes)); code != 0) {
    throw Error(fmt::format("cannot reserve {:.1f} MiB for scratch: {}", static_cast<double>(bytes) / (1 << 20),
                            std::strerror(code)),
                folder.string(), "free some space there, or use a shorter context");
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0);
  if (memory == MAP_FAILED) fail_errno(folder, "map a scratch file");
  return {memory, [bytes](void* mapped) { ::munmap(mapped, bytes); }};
}

void page_out(void* memory, std::uint64_t bytes) {
#ifdef MADV_PAGEOUT
  const auto [begin, end] = pages_inside(memory, bytes);
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_PAGEOUT);
#else
  (void)memory, (void)bytes;
#endif
}

std::string read_file(const std::filesystem::path& path, std::uint64_t limit) {
  if (path == "-") return read_descriptor(STDIN_FILENO, "standard input", limit);
  struct ::stat status;
  const Descriptor descriptor = open_for_reading(path, status);
  if (S_ISDIR(status.st_mode)) fail(path.string(), "is a folder, expected a file");
  return read_descriptor(descriptor.get(), path, limit);
}

AtomicFile::AtomicFile(std::filesystem::path path, unsigned mode)
    : path_(std::move(path)), temporary_(temporary_name(path_)) {
  std::error_code ignored;  // what cannot be examined cannot be opened either
  if (std::filesystem::is_directory(path_, ignored)) fail(path_.string(), "is a folder, expected a file name");
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (descriptor_ < 0) fail_errno(path_, "write");
  buffer_.reserve(kWriteBuffer);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> data) {
  position_ += data.size();
  while (!data.empty()) {
    const std::size_t part = std::min(data.size(), kWriteBuffer - buffer_.size());
    buffer_.append(reinterpret_cast<const char*>(data.data()), part);
    data = data.subspan(part);
    if (buffer_.size() == kWriteBuffer) flush();
  }
}

void AtomicFile::flush() {
  if (!write_all(descriptor_, buffer_)) fail_errno(path_, "write");
  buffer_.clear();
}

void AtomicFile::pad_to(std::uint64_t alignment) {
  static constexpr char kZeros[64] = {};
  while (position_ % alignment != 0) {
    write(std::string_view(kZeros, std::min<std::uint64_t>(sizeof kZeros, alignment - position_ % alignment)));
  }
}

void AtomicFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) fail_errno(path_, "write");
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    fail_errno(path_, "write", code);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    fail_errno(path_, "replace", code);
  }
  sync_folder_of(path_);
}

AtomicFolder::AtomicFolder(std::filesystem::path target) : target_(std::move(target)) {
  while (target_.has_relative_path() && target_.filename().empty()) target_ = target_.parent_path();
  std::error_code code;
  if (std::filesystem::exists(target_, code) && !std::filesystem::is_directory(target_, code)) {
    fail(target_.string(), "exists and is not a folder");
  }
  temporary_ = temporary_name(target_);
  std::filesystem::remove_all(temporary_, code);
  if (!std::filesystem::create_directories(temporary_, code)) fail_errno(target_, "create folder", code.value());
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  std::error_code unknown;
  if (!std::filesystem::exists(target_, unknown)) {
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_errno(target_, "create folder");
    committed_ = true;
  } else {
    // Swap old and new in one step, then remove the old content, which now lies under the temporary name.
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0) {
      fail_errno(target_, "replace folder");
    }
    committed_ = true;
    std::error_code ignored;
    std::filesystem::remove_all(temporary_, ignored);
  }
  sync_folder_of(target_);
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace lathe
