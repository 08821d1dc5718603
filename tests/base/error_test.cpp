// Error messages are one readable line; cancellation throws until it is reset.
#include "base/error.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "base/cancel.h"

namespace lathe {
namespace {

TEST(Error, SaysWhereWhatAndRemedyOnOneLine) {
  EXPECT_STREQ(Error("is empty", "a.gguf", "download it again").what(), "a.gguf: is empty (download it again)");
  EXPECT_STREQ(Error("is empty").what(), "is empty");
  EXPECT_STREQ(Error("two\nlines\x1b[31m\x7f", "a\rb").what(), "a b: two lines [31m ");
  const Error outer = Error("is empty", "tensor \"x\"", "fix it").within("a.gguf");
  EXPECT_STREQ(outer.what(), "a.gguf: tensor \"x\": is empty (fix it)");
  EXPECT_EQ(outer.problem(), "is empty");
  EXPECT_STREQ(Error("is empty").within("a.gguf").what(), "a.gguf: is empty");
}

// Names in files can be as long as the file.
TEST(Error, StaysReadable) {
  const Error error(std::string(1 << 20, 'x'), "a.gguf", "do this");
  EXPECT_LT(std::string_view(error.what()).size(), 4200u);
  EXPECT_TRUE(std::string_view(error.what()).starts_with("a.gguf: xxx"));
  EXPECT_TRUE(std::string_view(error.what()).ends_with("xxx (do this)"));
}

TEST(Error, FailFormats) {
  try {
    fail("a.gguf", "tensor {} has {} dimensions", "x", 9);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.gguf: tensor x has 9 dimensions");
  }
}

TEST(CancelToken, ThrowsOnceCancelledUntilReset) {
  CancelToken token;
  EXPECT_NO_THROW(token.check());
  token.cancel();
  EXPECT_TRUE(token.cancelled());
  EXPECT_THROW(token.check(), Cancelled);
  EXPECT_THROW(token.check(), Error);
  token.reset();
  EXPECT_NO_THROW(token.check());
}

TEST(InterruptHandler, FirstSignalCancelsSecondEnds) {
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        std::raise(SIGINT);
        if (!interrupt_token().cancelled()) std::_Exit(3);
        std::raise(SIGINT);
        std::_Exit(4);
      },
      testing::ExitedWithCode(130), "");
}

}  // namespace
}  // namespace lathe
