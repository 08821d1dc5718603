// Files are read as they are and replaced whole or not at all.
#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/data.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Runs `body` in a child whose files may not grow beyond `bytes`; its exit status.
template <class Body>
int with_file_size_limit(rlim_t bytes, Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int status = 0;
    try {
      body();
    } catch (const Error&) {
      status = 7;
    } catch (...) {
      status = 8;
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MapFile, MapsAndOutlivesTheName) {
  const TempDir folder;
  write_file(folder / "a", "hello");
  const Bytes bytes = map_file(folder / "a");
  fs::remove(folder / "a");
  EXPECT_EQ(bytes.text(), "hello");
  EXPECT_EQ(bytes.name(), (folder / "a").string());
  drop_pages(bytes.span());
  EXPECT_EQ(bytes.text(), "hello");
}

// Dropping anonymous pages would empty them.
TEST(MapFile, DropsNoPagesButThoseOfFiles) {
  const std::string text(1 << 18, 'x');
  const Bytes copy = Bytes::copy_of(text, "copy");
  drop_pages(copy.span());
  EXPECT_EQ(copy.text(), text);
}

TEST(MapFile, RefusesWhatIsNoFile) {
  const TempDir folder;
  write_file(folder / "empty", "");
  EXPECT_NE(error_of([&] { map_file(folder / "absent"); }).find("absent: cannot open: No such file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { map_file(folder.path()); }).find("is a folder"), std::string::npos);
  EXPECT_NE(error_of([&] { map_file(folder / "empty"); }).find("is empty"), std::string::npos);
  EXPECT_NE(error_of([&] { map_file("/dev/null"); }).find("is not a regular file"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const int reader = ::open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  const int writer = ::open((folder / "pipe").c_str(), O_WRONLY | O_NONBLOCK);  // so that opening does not wait
  EXPECT_NE(error_of([&] { map_file(folder / "pipe"); }).find("is not a regular file"), std::string::npos);
  ::close(reader);
  ::close(writer);
}

TEST(MapScratch, KeepsWhatIsWrittenAndNothingBehind) {
  const TempDir folder;
  constexpr std::size_t kBytes = 3 << 20;
  {
    const auto memory = map_scratch(folder.path(), kBytes);
    auto* bytes = static_cast<unsigned char*>(memory.get());
    EXPECT_EQ(std::count(bytes, bytes + kBytes, 0), static_cast<std::ptrdiff_t>(kBytes));
    for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<unsigned char>(i * 7 + i / 256);
    page_out(bytes + 100, kBytes - 200);
    page_out(bytes, 10);
    for (std::size_t i = 0; i < kBytes; ++i) ASSERT_EQ(bytes[i], static_cast<unsigned char>(i * 7 + i / 256));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "nobody else sees the file";
  }
  EXPECT_NE(error_of([&] { map_scratch(folder / "absent", kBytes); }).find("absent: cannot make a scratch file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { map_scratch(folder.path(), std::uint64_t{1} << 60); }).find("cannot reserve"),
            std::string::npos);
}

TEST(ReadFile, KeepsItsLimit) {
  const TempDir folder;
  write_file(folder / "a", std::string(100'000, 'x'));
  EXPECT_EQ(read_file(folder / "a", 100'000).size(), 100'000u);
  EXPECT_THROW(read_file(folder / "a", 99'999), Error);
  EXPECT_THROW(read_file("/dev/zero", 1 << 20), Error) << "an endless file";
  EXPECT_THROW(read_file(folder.path()), Error);
  EXPECT_THROW(read_file(folder / "absent"), Error);
}

TEST(AtomicFile, CommitsOrLeavesEverythingAsItWas) {
  const TempDir folder;
  const fs::path path = folder / "a";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new but not committed");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"a"});
  AtomicFile file(path);
  file.write_value(std::uint32_t{0x34333231});
  file.pad_to(8);
  EXPECT_EQ(file.position(), 8u);
  file.pad_to(8);
  file.write(std::string(3 << 20, 'x'));
  EXPECT_EQ(read_file(path), "old");
  file.commit();
  EXPECT_EQ(read_file(path), std::string("1234\0\0\0\0", 8) + std::string(3 << 20, 'x'));
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"a"});
}

TEST(AtomicFile, RefusesImpossibleTargets) {
  const TempDir folder;
  EXPECT_THROW(AtomicFile(folder.path()), Error);
  EXPECT_THROW(AtomicFile(folder / "absent/a"), Error);
  EXPECT_THROW(write_file("", "x"), Error);
  EXPECT_THROW(write_file(folder / std::string(300, 'n'), "x"), Error);
  EXPECT_THROW(AtomicFolder(folder / std::string(300, 'n')), Error);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  const TempDir folder;
  const fs::path path = folder / "a";
  write_file(path, "old");
  const std::string content(2'500'000, 'x');
  for (const rlim_t limit : {0ul, 1ul, 4096ul, 1048575ul, 1048576ul, 1048577ul, 2499999ul}) {
    EXPECT_EQ(with_file_size_limit(limit, [&] { write_file(path, content); }), 7) << limit;
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"a"}) << limit;
  }
  EXPECT_EQ(with_file_size_limit(2'500'000, [&] { write_file(path, content); }), 0);
  EXPECT_EQ(read_file(path), content);
}

TEST(AtomicFolder, CommitsOrLeavesEverythingAsItWas) {
  const TempDir folder;
  const fs::path target = folder / "model";
  {
    AtomicFolder first(target);
    write_file(first.path() / "a", "1");
    EXPECT_FALSE(fs::exists(target));
    first.commit();
  }
  {
    AtomicFolder second(folder / "model/");
    write_file(second.path() / "b", "2");
  }
  EXPECT_EQ(names_in(target), std::vector<std::string>{"a"});
  {
    AtomicFolder third(target);
    write_file(third.path() / "c", "3");
    third.commit();
  }
  EXPECT_EQ(names_in(target), std::vector<std::string>{"c"});
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"model"});
  write_file(folder / "file", "x");
  EXPECT_THROW(AtomicFolder(folder / "file"), Error);
}

}  // namespace
}  // namespace lathe
