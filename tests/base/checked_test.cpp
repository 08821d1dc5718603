// Sizes that cannot overflow, extents that cannot leave their container.
#include "base/checked.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace lathe {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Checked, AddAgreesWithWideArithmetic) {
  const std::uint64_t values[] = {0, 1, 2, 31, 1u << 31, 0xffffffff, kMax / 2, kMax / 2 + 1, kMax - 1, kMax};
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) {
      const auto sum = static_cast<unsigned __int128>(a) + b, product = static_cast<unsigned __int128>(a) * b;
      if (sum > kMax) {
        EXPECT_THROW(checked_add(a, b, "size"), Error) << a << " + " << b;
      } else {
        EXPECT_EQ(checked_add(a, b, "size"), static_cast<std::uint64_t>(sum));
      }
      if (product > kMax) {
        EXPECT_THROW(checked_mul(a, b, "size"), Error) << a << " * " << b;
      } else {
        EXPECT_EQ(checked_mul(a, b, "size"), static_cast<std::uint64_t>(product));
      }
    }
  }
}

TEST(Checked, ErrorsNameWhatAndWhere) {
  EXPECT_EQ(error_of([] { checked_add(kMax, 1, "end of a tensor", "a.gguf"); }),
            "a.gguf: end of a tensor overflows: 18446744073709551615 + 1");
  EXPECT_EQ(error_of([] { narrow<std::uint8_t>(256, "a count", "a.gguf"); }), "a.gguf: a count is out of range: 256");
}

TEST(Checked, NarrowKeepsExactlyWhatFits) {
  EXPECT_EQ(narrow<std::uint8_t>(255, "n"), 255);
  EXPECT_EQ(narrow<std::int8_t>(-128, "n"), -128);
  EXPECT_EQ(narrow<std::int32_t>(std::uint64_t{0x7fffffff}, "n"), 0x7fffffff);
  EXPECT_EQ(narrow<std::uint64_t>(std::int32_t{5}, "n"), 5u);
  EXPECT_EQ(narrow<std::int64_t>(std::numeric_limits<std::int64_t>::min(), "n"),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_THROW(narrow<std::uint8_t>(-1, "n"), Error);
  EXPECT_THROW(narrow<std::uint64_t>(-1, "n"), Error);
  EXPECT_THROW(narrow<std::uint32_t>(std::int64_t{-1}, "n"), Error);
  EXPECT_THROW(narrow<std::int32_t>(std::uint64_t{0x80000000}, "n"), Error);
  EXPECT_THROW(narrow<std::int64_t>(kMax, "n"), Error);
  EXPECT_THROW(narrow<std::int32_t>(std::int64_t{1} << 32, "n"), Error);
}

TEST(Extent, LiesWithinItsContainer) {
  for (const std::uint64_t limit : {std::uint64_t{0}, std::uint64_t{10}, kMax}) {
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{10}, std::uint64_t{11}, kMax}) {
      for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{9}, std::uint64_t{10}, kMax}) {
        const bool inside = static_cast<unsigned __int128>(offset) + size <= limit;
        if (inside) {
          const Extent extent = Extent::within(limit, offset, size, "a tensor", "file");
          EXPECT_EQ(extent.offset(), offset);
          EXPECT_EQ(extent.size(), size);
          EXPECT_EQ(extent.end(), offset + size);
        } else {
          EXPECT_THROW(Extent::within(limit, offset, size, "a tensor", "file"), Error)
              << limit << ' ' << offset << ' ' << size;
        }
      }
    }
  }
  EXPECT_EQ(
      error_of([] { Extent::within(10, 8, 3, "a tensor", "a.gguf"); }),
      "a.gguf: a tensor needs 3 bytes at offset 8, but only 2 bytes are there (the file is truncated or damaged)");
}

TEST(Bytes, SlicesShareTheOwner) {
  Bytes tail;
  std::weak_ptr<const void> owner;
  {
    const Bytes whole = Bytes::copy_of("0123456789", "digits");
    owner = whole.owner();
    tail = whole.slice(7, 3, "the tail").slice(1, 2, "its end");
  }
  EXPECT_FALSE(owner.expired());
  EXPECT_EQ(tail.text(), "89");
  EXPECT_EQ(tail.name(), "digits");
  EXPECT_THROW(tail.slice(0, 3, "more"), Error);
  EXPECT_THROW(tail.slice(kMax, 2, "more"), Error);
  EXPECT_THROW(tail.slice(2, kMax, "more"), Error);
  EXPECT_EQ(tail.slice(2, 0, "nothing").size(), 0u);
  tail = {};
  EXPECT_TRUE(owner.expired());
}

TEST(ByteReader, ReadsLittleEndianAndStopsAtTheEnd) {
  using namespace std::string_literals;
  ByteReader reader(Bytes::copy_of("\x01\x02\x03\x04\x05\x06\x07tail"s, "file"));
  EXPECT_EQ(reader.read<std::uint16_t>("a"), 0x0201);
  EXPECT_EQ(reader.read<std::uint8_t>("b"), 3);
  EXPECT_EQ(reader.read<std::uint32_t>("c"), 0x07060504u);
  EXPECT_EQ(reader.remaining(), 4u);
  EXPECT_EQ(
      error_of([&] { reader.read<std::uint64_t>("the length"); }),
      "file: the length needs 8 bytes at offset 7, but only 4 bytes are there (the file is truncated or damaged)");
  EXPECT_EQ(reader.position(), 7u) << "a failed read moved";
  EXPECT_THROW(reader.string(kMax, "text"), Error);
  EXPECT_THROW(reader.skip(kMax - 3, "text"), Error);
  EXPECT_EQ(reader.string(4, "text"), "tail");
  EXPECT_THROW(reader.read<std::uint8_t>("more"), Error);
}

TEST(ByteReader, Aligns) {
  ByteReader reader(Bytes::copy_of(std::string(40, 'x'), "file"));
  reader.align(32, "padding");
  EXPECT_EQ(reader.position(), 0u);
  reader.skip(1, "a byte");
  reader.align(32, "padding");
  EXPECT_EQ(reader.position(), 32u);
  reader.align(32, "padding");
  EXPECT_EQ(reader.position(), 32u);
  reader.skip(1, "a byte");
  EXPECT_THROW(reader.align(32, "padding"), Error);
  EXPECT_THROW(reader.align(std::uint64_t{1} << 63, "padding"), Error);
}

}  // namespace
}  // namespace lathe
