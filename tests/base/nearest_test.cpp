// Distances between names, and which names come first.
#include "base/nearest.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(EditDistance, CountsChanges) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ab", "ba"), 1u) << "a swap of neighbours is one change";
  EXPECT_EQ(edit_distance("ca", "abc"), 3u) << "optimal string alignment edits no substring twice";
  EXPECT_EQ(edit_distance("Q8_0", "q8_0"), 0u);
  for (const char* a : {"convert", "tokenize", "x"}) {
    for (const char* b : {"covnert", "run", ""}) EXPECT_EQ(edit_distance(a, b), edit_distance(b, a)) << a << ' ' << b;
  }
}

TEST(NearestNames, NearestFirstAndBounded) {
  constexpr std::string_view kVerbs[] = {"run", "chat", "convert", "tokenize", "perplexity"};
  EXPECT_EQ(nearest_names("covnert", kVerbs, 2).front(), "convert");
  EXPECT_EQ(nearest_names("perp", kVerbs, 3).front(), "perplexity");
  EXPECT_LE(nearest_names("c", kVerbs, 1).size(), 1u);
  EXPECT_TRUE(nearest_names("run", kVerbs, 0).empty());
  EXPECT_NO_THROW(nearest_names(std::string(1 << 20, 'x'), kVerbs, 3));
}

}  // namespace
}  // namespace lathe
