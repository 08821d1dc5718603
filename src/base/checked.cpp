#include "base/checked.h"

#include <cstring>
#include <vector>

namespace lathe {

std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, std::string_view what, std::string_view where) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) fail(where, "{} overflows: {} + {}", what, a, b);
  return sum;
}

std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what, std::string_view where) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) fail(where, "{} overflows: {} * {}", what, a, b);
  return product;
}

Extent Extent::within(std::uint64_t limit, std::uint64_t offset, std::uint64_t size, std::string_view what,
                      std::string_view where) {
  if (offset > limit || size > limit - offset) {
    throw Error(fmt::format("{} needs {} bytes at offset {}, but only {} bytes are there", what, size, offset,
                            offset > limit ? 0 : limit - offset),
                std::string(where), "the file is truncated or damaged");
  }
  return Extent(offset, size);
}

Bytes::Bytes(std::span<const std::byte> data, std::string name, std::shared_ptr<const void> owner)
    : data_(data), name_(std::move(name)), owner_(std::move(owner)) {}

Bytes Bytes::copy_of(std::span<const std::byte> data, std::string name) {
  auto buffer = std::make_shared<const std::vector<std::byte>>(data.begin(), data.end());
  return Bytes(*buffer, std::move(name), buffer);
}

Bytes Bytes::copy_of(std::string_view data, std::string name) {
  return copy_of(std::as_bytes(std::span(data.data(), data.size())), std::move(name));
}

Bytes Bytes::slice(std::uint64_t offset, std::uint64_t size, std::string_view what) const {
  const Extent extent = Extent::within(data_.size(), offset, size, what, name_);
  return Bytes(data_.subspan(extent.offset(), extent.size()), name_, owner_);
}

Bytes ByteReader::take(std::uint64_t size, std::string_view what) {
  Bytes taken = bytes_.slice(position_, size, what);
  position_ += size;
  return taken;
}

void ByteReader::align(std::uint64_t alignment, std::string_view what) {
  const std::uint64_t rest = position_ & (alignment - 1);
  if (rest != 0) skip(alignment - rest, what);
}

void ByteReader::copy(void* target, std::size_t size, std::string_view what) {
  const Bytes taken = take(size, what);
  std::memcpy(target, taken.data(), size);
}

}  // namespace lathe
