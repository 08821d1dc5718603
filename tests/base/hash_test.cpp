// The hash is XXH3's, and chains.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace lathe {
namespace {

// Files are written with it: it must stay what it is.
TEST(Hash, IsXxh3) {
  EXPECT_EQ(hash64(""), 0x2d06800538d394c2u);
  EXPECT_EQ(hash64("a"), 0xe6c632b61e964e1fu);
  EXPECT_EQ(hash64("abc"), 0x78af5f94892f3950u);
}

TEST(Hash, TellsBytesSeedsAndPiecesApart) {
  EXPECT_NE(hash64("ab"), hash64("ba"));
  EXPECT_NE(hash64("ab", 1), hash64("ab", 2));
  EXPECT_NE(hash64("c", hash64("ab")), hash64("bc", hash64("a")));
  EXPECT_NE(hash64("", 1), hash64("", 2));
  std::string text(1000, 'x');
  const std::uint64_t before = hash64(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = 'y';
    EXPECT_NE(hash64(text), before) << i;
    text[i] = 'x';
  }
}

}  // namespace
}  // namespace lathe
