// JSON keeps its order, bounds its nesting, and says where it is wrong.
#include "base/json.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

std::string error_of(std::string_view text, int max_depth = 256) {
  try {
    parse_json(text, "a.json", max_depth);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string nested(std::size_t depth, char open, char close) {
  return std::string(depth, open) + std::string(depth, close);
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":[true,null,"x"]})", "a.json").dump(), R"({"b":1,"a":[true,null,"x"]})");
  EXPECT_EQ(parse_json_sorted(R"({"b":1,"a":2})", "a.json").dump(), R"({"a":2,"b":1})");
}

TEST(Json, ErrorsNameFileLineAndColumn) {
  EXPECT_EQ(error_of("{\"a\": 1,\n \"b\": }"), "a.json: invalid JSON at line 2, column 7");
  EXPECT_EQ(error_of(""), "a.json: invalid JSON at line 1, column 1");
  EXPECT_EQ(error_of("["), "a.json: invalid JSON at line 1, column 2");
  EXPECT_NE(error_of("{\"a\":\"\xff\"}").find("a.json: invalid JSON at line 1"), std::string::npos);
  EXPECT_NE(error_of("1e99999").find("a.json: invalid JSON"), std::string::npos);
  EXPECT_NE(error_of("{} {}").find("a.json: invalid JSON at line 1, column 4"), std::string::npos);
}

TEST(Json, BoundsNesting) {
  EXPECT_EQ(error_of(nested(8, '[', ']'), 8), "no error");
  EXPECT_EQ(error_of(nested(9, '[', ']'), 8), "a.json: JSON is nested deeper than 8 levels");
  EXPECT_EQ(error_of(nested(100'000, '[', ']')), "a.json: JSON is nested deeper than 256 levels");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(error_of(objects), "a.json: JSON is nested deeper than 256 levels");
  EXPECT_THROW(parse_json_sorted(nested(100'000, '[', ']'), "a.json"), Error);
}

TEST(Json, TypedLookUps) {
  const Json object = parse_json(R"({"n":3,"s":"x","z":null})", "a.json");
  EXPECT_EQ(json_get<int>(object, "n", "a.json"), 3);
  EXPECT_EQ(json_get_or<int>(object, "absent", 7, "a.json"), 7);
  EXPECT_EQ(json_get_or<int>(object, "z", 7, "a.json"), 7);
  EXPECT_THROW(json_get<int>(object, "absent", "a.json"), Error);
  EXPECT_THROW(json_get<int>(object, "s", "a.json"), Error);
  EXPECT_THROW(json_get<std::string>(object, "n", "a.json"), Error);
  EXPECT_THROW(json_get_or<int>(object, "s", 7, "a.json"), Error);
}

// A file that is not an object has no members, whatever is asked of it.
TEST(Json, LookUpsInOtherTypes) {
  for (const char* text : {"[1]", "3", "\"x\"", "null"}) {
    EXPECT_THROW(json_get<int>(parse_json(text, "a.json"), "n", "a.json"), Error) << text;
    EXPECT_EQ(json_get_or<int>(parse_json(text, "a.json"), "n", 7, "a.json"), 7) << text;
  }
}

}  // namespace
}  // namespace lathe
