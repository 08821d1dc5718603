// Stop strings are found however the text arrives, and nothing else is held back.
#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

namespace lathe::engine {
namespace {

// Everything a stream shows when it arrives in pieces of `size`.
std::string shown(StopMatcher matcher, std::string_view text, std::size_t size) {
  std::string result;
  for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) result += matcher.push(text.substr(0, size));
  return result + matcher.flush();
}

TEST(StopMatcher, CutsAtTheStopStringHoweverTheTextArrives) {
  for (std::size_t size = 1; size < 12; ++size) {
    EXPECT_EQ(shown(StopMatcher({"END"}), "one two ENtwo END three", size), "one two ENtwo ") << size;
  }
}

TEST(StopMatcher, TheEarliestOfSeveralWins) {
  for (std::size_t size = 1; size < 8; ++size) EXPECT_EQ(shown(StopMatcher({"cd", "b"}), "abcd", size), "a") << size;
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"\n\n"});
  EXPECT_EQ(matcher.push("line\n"), "line");
  EXPECT_EQ(matcher.push("next"), "\nnext");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("\n\nrest"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, BehindTheLastTextNothingStops) {
  StopMatcher matcher({"END", "go>x"});
  EXPECT_EQ(matcher.push("one EN"), "one ");
  EXPECT_EQ(matcher.push_last("E go>x END", 5), "ENE go>x END");  // "go>x" ends behind, "END" lies there
  EXPECT_EQ(matcher.push("END"), "END");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_FALSE(matcher.stopped());
  StopMatcher stops({"END"});
  EXPECT_EQ(stops.push_last("an END go> rest", 5), "an ");
  EXPECT_TRUE(stops.stopped());
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  EXPECT_EQ(shown(StopMatcher({}), "text", 1), "text");
  EXPECT_EQ(shown(StopMatcher({""}), "text", 1), "text");
}

}  // namespace
}  // namespace lathe::engine
