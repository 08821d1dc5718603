// Sizes that cannot overflow and file extents that cannot leave their file. Every offset and length that comes from a
// file passes through these types, so that a hostile header is an error message and never an allocation or a read
// out of bounds (the class of CVE-2026-27940 and CVE-2026-7482).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace lathe {

// a + b and a * b, or an Error that names `what` and `where`.
std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, std::string_view what, std::string_view where = {});
std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what, std::string_view where = {});

// `value` as To, or an Error when it does not fit.
template <class To, class From>
To narrow(From value, std::string_view what, std::string_view where = {}) {
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value ||
      (std::is_signed_v<From> != std::is_signed_v<To> && (result < To{}) != (value < From{}))) {
    throw Error(fmt::format("{} is out of range: {}", what, value), std::string(where));
  }
  return result;
}

// A run of bytes [offset, offset + size) known to lie inside a container of `limit` bytes.
class Extent {
 public:
  Extent() = default;
  // Throws unless offset + size <= limit, without overflow.
  static Extent within(std::uint64_t limit, std::uint64_t offset, std::uint64_t size, std::string_view what,
                       std::string_view where);
  std::uint64_t offset() const { return offset_; }
  std::uint64_t size() const { return size_; }
  std::uint64_t end() const { return offset_ + size_; }

 private:
  Extent(std::uint64_t offset, std::uint64_t size) : offset_(offset), size_(size) {}
  std::uint64_t offset_ = 0, size_ = 0;
};

// Read-only bytes with a name for error messages and a shared owner (a mapping or a buffer) that keeps them alive.
class Bytes {
 public:
  Bytes() = default;
  Bytes(std::span<const std::byte> data, std::string name, std::shared_ptr<const void> owner = nullptr);
  // A copy of `data`, owned.
  static Bytes copy_of(std::span<const std::byte> data, std::string name);
  static Bytes copy_of(std::string_view data, std::string name);

  const std::byte* data() const { return data_.data(); }
  std::uint64_t size() const { return data_.size(); }
  std::span<const std::byte> span() const { return data_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_.data()), data_.size()}; }
  const std::string& name() const { return name_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // A part of these bytes, sharing the owner; throws when it does not lie inside.
  Bytes slice(std::uint64_t offset, std::uint64_t size, std::string_view what) const;

 private:
  std::span<const std::byte> data_;
  std::string name_;
  std::shared_ptr<const void> owner_;
};

// A bounds-checked little-endian cursor over Bytes. Every read that would pass the end throws an Error naming the file,
// the offset and what was being read.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(std::move(bytes)) {}

  template <class T>
  T read(std::string_view what) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    copy(&value, sizeof(T), what);
    return value;
  }
  Bytes take(std::uint64_t size, std::string_view what);
  std::string string(std::uint64_t size, std::string_view what) { return std::string(take(size, what).text()); }
  void skip(std::uint64_t size, std::string_view what) { take(size, what); }
  // Moves forward to a multiple of `alignment` (a power of two).
  void align(std::uint64_t alignment, std::string_view what);

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }
  const Bytes& bytes() const { return bytes_; }
  const std::string& name() const { return bytes_.name(); }

 private:
  void copy(void* target, std::size_t size, std::string_view what);
  Bytes bytes_;
  std::uint64_t position_ = 0;
};

}  // namespace lathe
