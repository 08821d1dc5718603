// Prefix trees as files: what comes back, what is left out, and every kind of file that must be refused whole.
#include "cache/prefix_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "base/file.h"
#include "base/hash.h"
#include "reference/fake_backend.h"
#include "reference/tiny_model.h"
#include "support/data.h"

namespace lathe::cache {
namespace {

using Content = std::vector<std::uint64_t>;
constexpr std::uint32_t kTokens = 4, kLayers = 2;
constexpr kernels::KvLayout kLayout{kernels::KvCodec::kI8, 1, 1, 1, kTokens};
constexpr std::uint64_t kNoLimit = 1 << 30;
const PrefixOrigin kOrigin{0x1234, "a test"};

// A pool and a tree over it, and blocks whose bytes say which they are.
class Cache {
 public:
  explicit Cache(std::uint64_t blocks = 16, const kernels::KvLayout& layout = kLayout, std::uint32_t layers = kLayers,
                 std::shared_ptr<kernels::Backend> backend = test::cpu())
      : backend_(std::move(backend)),
        stream_(backend_->make_stream()),
        pool(backend_, layout, layers, blocks * layers * backend_->kv_block_bytes(layout)),
        tree(pool) {}

  // One block for each of `marks`: its keys begin with its mark, and its bytes are that everywhere.
  void fill(std::string_view scope, std::initializer_list<std::uint8_t> marks) {
    std::vector<BlockRef> blocks;
    for (const std::uint8_t mark : marks) {
      blocks.push_back(pool.allocate());
      const std::string bytes(pool.block_bytes(), static_cast<char>(mark));
      backend_->upload(*stream_, blocks.back().address(0), bytes.data(), bytes.size());
    }
    tree.insert(scope, content_of(marks), blocks);
  }
  // How many of the blocks are found; each must hold its own mark.
  std::size_t hit(std::string_view scope, std::initializer_list<std::uint8_t> marks) {
    const auto blocks = tree.lookup(scope, content_of(marks));
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      std::string bytes(pool.block_bytes(), '\0');
      backend_->download(*stream_, bytes.data(), blocks[i].address(0), bytes.size());
      EXPECT_EQ(bytes, std::string(bytes.size(), static_cast<char>(marks.begin()[i])));
    }
    return blocks.size();
  }

 private:
  static Content content_of(std::initializer_list<std::uint8_t> marks) {
    Content content;
    for (const std::uint64_t mark : marks) content.insert(content.end(), {mark, mark + 1000, mark << 40, 7});
    return content;
  }
  std::shared_ptr<kernels::Backend> backend_;
  std::unique_ptr<kernels::Stream> stream_;

 public:
  BlockPool pool;
  PrefixTree tree;  // goes before its pool
};

class PrefixFileTest : public testing::Test {
 protected:
  // Six blocks in two scopes; [1, 2] is the oldest, [1, 3] the newest path.
  PrefixFileTest() {
    full_.fill("a", {1, 2});
    full_.fill("b", {1, 9, 8});
    full_.fill("a", {1, 3});
  }
  std::uint64_t save(const Cache& from, std::uint64_t most_bytes = kNoLimit) const {
    return save_prefixes(path_, from.tree, kOrigin, most_bytes);
  }
  std::uint64_t load(Cache& into) const { return load_prefixes(map_file(path_), into.tree, kOrigin); }

  // Why these bytes are refused; the tree and its pool must be as they were.
  static std::string refusal(std::string_view bytes, Cache& into, const PrefixOrigin& origin = kOrigin) {
    std::string message = "no error";
    try {
      load_prefixes(Bytes::copy_of(bytes, "the-file"), into.tree, origin);
    } catch (const Error& error) {
      message = error.what();
      EXPECT_EQ(message.find("the-file: "), 0u) << message;
      EXPECT_EQ(into.tree.size(), 0u);
      EXPECT_EQ(into.pool.used_blocks(), 0u);
    }
    return message;
  }
  static std::string refusal(std::string_view bytes) {
    Cache into;
    return refusal(bytes, into);
  }
  // The file with its table changed, under a hash that fits.
  std::string forged(const std::function<void(std::string& table)>& change) const {
    const std::string whole = read_file(path_);
    std::uint64_t size = 0;
    std::memcpy(&size, whole.data() + 8, sizeof size);
    std::string table = whole.substr(24, size);
    change(table);
    const auto raw = [](std::uint64_t value) { return std::string(reinterpret_cast<const char*>(&value), 8); };
    return whole.substr(0, 8) + raw(table.size()) + raw(hash64(table)) + table + whole.substr(24 + size);
  }

  test::TempDir folder_;
  const std::filesystem::path path_ = folder_ / "p.prefixes";
  Cache full_;
};

TEST_F(PrefixFileTest, GivesBackEveryBlockUnderItsScope) {
  ASSERT_EQ(full_.tree.size(), 6u);
  EXPECT_EQ(save(full_), 6u);
  Cache restored;
  EXPECT_EQ(load(restored), 6u);
  EXPECT_EQ(restored.tree.size(), 6u);
  EXPECT_EQ(restored.pool.used_blocks(), 6u);
  EXPECT_EQ(restored.hit("a", {1, 2}), 2u);
  EXPECT_EQ(restored.hit("a", {1, 3}), 2u);
  EXPECT_EQ(restored.hit("b", {1, 9, 8}), 3u);
  EXPECT_EQ(restored.hit("b", {1, 2}), 1u);
  EXPECT_EQ(restored.hit("c", {1}), 0u);
  EXPECT_TRUE(restored.tree.evict(16));
  EXPECT_EQ(restored.tree.size(), 0u);
}

TEST_F(PrefixFileTest, KeepsTheOrderOfUse) {
  save(full_);
  const auto order_of_eviction = [](Cache& cache) {
    std::vector<std::size_t> left;
    for (std::uint64_t free = 11; free <= 16; ++free) {
      cache.tree.evict(free);
      // lookup() would count as use, so only what is there is counted.
      const PrefixList list = cache.tree.most_recent(16);
      std::size_t hash = list.entries.size();
      for (const auto& entry : list.entries) hash = hash * 31 + entry.keys[0];
      left.push_back(hash);
    }
    return left;
  };
  Cache restored;
  load(restored);
  save_prefixes(folder_ / "again", restored.tree, kOrigin, kNoLimit);
  EXPECT_EQ(read_file(folder_ / "again"), read_file(path_));
  EXPECT_EQ(order_of_eviction(restored), order_of_eviction(full_));
}

// What is used after a restoration is newer than everything restored.
TEST_F(PrefixFileTest, GoesOnFromThere) {
  save(full_);
  Cache restored;
  load(restored);
  restored.fill("a", {50});
  EXPECT_EQ(restored.hit("a", {1, 2}), 2u);
  restored.tree.evict(13);
  EXPECT_EQ(restored.hit("a", {50}), 1u);
  EXPECT_EQ(restored.hit("a", {1, 2}), 2u);
}

// A byte less than so many blocks take leaves one block less.
TEST_F(PrefixFileTest, ALimitKeepsTheMostRecentlyUsed) {
  std::uint64_t most = kNoLimit;
  for (std::uint64_t expected = 6; expected > 0; --expected) {
    ASSERT_EQ(save(full_, most), expected);
    Cache restored;
    EXPECT_EQ(load(restored), expected);
    // In order of use: a/1, a/1/3, b/1, b/1/9, b/1/9/8, a/1/2.
    EXPECT_EQ(restored.hit("a", {1, 3}), std::min<std::uint64_t>(expected, 2));
    EXPECT_EQ(restored.hit("b", {1, 9, 8}), expected < 2 ? 0 : std::min<std::uint64_t>(expected - 2, 3));
    most = std::filesystem::file_size(path_) - 1;
  }
  const std::string before = read_file(path_);
  for (const std::uint64_t nothing : {most, std::uint64_t{30}, std::uint64_t{0}}) EXPECT_EQ(save(full_, nothing), 0u);
  EXPECT_EQ(read_file(path_), before);
}

TEST_F(PrefixFileTest, ASmallerPoolTakesTheMostRecentlyUsed) {
  save(full_);
  Cache small(3);
  EXPECT_EQ(load(small), 3u);
  EXPECT_EQ(small.hit("a", {1, 3}), 2u);
  EXPECT_EQ(small.hit("b", {1, 9}), 1u);
  EXPECT_EQ(small.pool.free_blocks(), 0u);
}

TEST_F(PrefixFileTest, AnEmptyTreeLeavesTheFileAlone) {
  save(full_);
  const std::string before = read_file(path_);
  EXPECT_EQ(save(Cache()), 0u);
  EXPECT_EQ(read_file(path_), before);
}

TEST_F(PrefixFileTest, ATreeThatHoldsBlocksIsNotFilled) {
  save(full_);
  EXPECT_THROW(load(full_), Error);
  EXPECT_EQ(full_.tree.size(), 6u);
  EXPECT_EQ(full_.hit("a", {1, 2}), 2u);
}

TEST_F(PrefixFileTest, OnlyItsOwnerMayReadIt) {
  save(full_);
  struct ::stat status;
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

// Only the backend touches its memory.
TEST_F(PrefixFileTest, WorksOnADeviceWhoseMemoryTheHostCannotRead) {
  Cache device(16, kLayout, kLayers, std::make_shared<test::FakeBackend>(test::cpu()));
  device.fill("a", {1, 2, 3});
  EXPECT_EQ(save(device), 3u);
  Cache other(16, kLayout, kLayers, std::make_shared<test::FakeBackend>(test::cpu()));
  EXPECT_EQ(load(other), 3u);
  EXPECT_EQ(other.hit("a", {1, 2, 3}), 3u);
}

// As deep as long contexts: no recursion, and no time that grows with the square.
TEST_F(PrefixFileTest, DeepTrees) {
  constexpr std::size_t kDepth = 20000;
  Cache deep(kDepth), restored(kDepth);
  Content content(kDepth * kTokens);
  std::iota(content.begin(), content.end(), 0);
  std::vector<BlockRef> blocks;
  for (std::size_t i = 0; i < kDepth; ++i) blocks.push_back(deep.pool.allocate());
  deep.tree.insert("s", content, blocks);
  EXPECT_EQ(save(deep), kDepth);
  EXPECT_EQ(load(restored), kDepth);
  EXPECT_EQ(restored.tree.lookup("s", content).size(), kDepth);
}

TEST_F(PrefixFileTest, BlocksOfAnotherOriginAreRefused) {
  save(full_);
  const std::string bytes = read_file(path_);
  Cache into;
  EXPECT_NE(refusal(bytes, into, {0x1235, "a test"}).find("another model"), std::string::npos);
  EXPECT_NE(refusal(bytes, into, {0x1234, "b test"}).find("computed by \"a test\", not by \"b test\""),
            std::string::npos);
  for (const auto& [layout, layers, reason] : {std::tuple<kernels::KvLayout, std::uint32_t, const char*>{
                                                   {kernels::KvCodec::kF16, 1, 1, 1, kTokens}, 2, "int8"},
                                               {{kernels::KvCodec::kI8, 2, 1, 1, kTokens}, 2, "KV heads"},
                                               {{kernels::KvCodec::kI8, 1, 2, 1, kTokens}, 2, "a key's size"},
                                               {{kernels::KvCodec::kI8, 1, 1, 2, kTokens}, 2, "a value's size"},
                                               {{kernels::KvCodec::kI8, 1, 1, 1, 2 * kTokens}, 2, "tokens of a block"},
                                               {kLayout, 3, "layers"}}) {
    Cache other(16, layout, layers);
    EXPECT_NE(refusal(bytes, other).find(reason), std::string::npos) << reason;
  }
  EXPECT_EQ(refusal(bytes, into), "no error");
}

TEST_F(PrefixFileTest, EveryTruncationIsRefused) {
  save(full_);
  const std::string bytes = read_file(path_);
  for (std::size_t size = 0; size < bytes.size(); ++size) ASSERT_NE(refusal(bytes.substr(0, size)), "no error") << size;
  EXPECT_NE(refusal(bytes + 'x'), "no error");
  EXPECT_NE(refusal("GGUF" + bytes.substr(4)).find("no file of prefixes"), std::string::npos);
  std::string later = bytes;
  later[4] = 2;
  EXPECT_NE(refusal(later).find("version 2"), std::string::npos);
}

TEST_F(PrefixFileTest, EveryFlippedBitIsRefused) {
  save(full_);
  std::string bytes = read_file(path_);
  Cache into;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      ASSERT_NE(refusal(bytes, into), "no error") << "bit " << bit << " of byte " << i;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
    }
  }
  EXPECT_EQ(refusal(bytes, into), "no error");
}

// Tables that lie, under hashes that fit.
TEST_F(PrefixFileTest, TablesThatSpellNoTreeAreRefused) {
  save(full_);
  constexpr std::size_t kEntry = 4 + 8 * kTokens;
  const auto entry = [](const std::string& table, std::size_t i) { return table.size() - (6 - i) * kEntry; };
  const auto put = [](std::string& table, std::size_t at, std::uint32_t value) {
    std::memcpy(table.data() + at, &value, sizeof value);
  };
  ASSERT_EQ(refusal(forged([](std::string&) {})), "no error");
  EXPECT_NE(refusal(forged([&](std::string& t) { put(t, entry(t, 0), 2); })).find("block 0 follows"), std::string::npos)
      << "itself";
  EXPECT_NE(refusal(forged([&](std::string& t) { put(t, entry(t, 1), 7); })).find("block 1 follows"), std::string::npos)
      << "a later one";
  EXPECT_NE(refusal(forged([&](std::string& t) { put(t, entry(t, 5), ~0u); })).find("block 5 follows"),
            std::string::npos);
  EXPECT_NE(refusal(forged([&](std::string& t) {
              t.replace(entry(t, 2), kEntry, t.substr(entry(t, 0), kEntry));
            })).find("block 2 is there twice"),
            std::string::npos);
  for (const std::uint32_t count : {0u, 5u, 7u, 0x7fffffffu, 0xffffffffu}) {
    EXPECT_NE(refusal(forged([&](std::string& t) { put(t, entry(t, 0) - 4, count); })), "no error") << count;
    const std::size_t scopes = 2 * (4 + 1) + 4;  // "a" and "b"
    EXPECT_NE(refusal(forged([&](std::string& t) { put(t, entry(t, 0) - 4 - scopes, count); })), "no error") << count;
  }
  EXPECT_NE(refusal(forged([](std::string& t) { t.clear(); })), "no error");
  // What a message repeats of a file is tame.
  const std::string message = refusal(forged([&](std::string& t) {
    put(t, 8, 6000);
    t.replace(12, 6, std::string(3000, '\n') + std::string(3000, '\x1b'));
  }));
  EXPECT_NE(message.find("computed by \"????"), std::string::npos);
  EXPECT_LT(message.size(), 200u);
  EXPECT_NE(refusal(forged([](std::string& t) { t += "more"; })), "no error");
}

// RLIMIT_FSIZE: as when the disk is full at that byte, or as if the process were killed there.
TEST_F(PrefixFileTest, AFileThatCannotBeFinishedLeavesTheOldOne) {
  Cache old;
  old.fill("old", {77});
  save(old);
  const std::string before = read_file(path_);
  save_prefixes(folder_ / "other", full_.tree, kOrigin, kNoLimit);
  const std::uint64_t size = std::filesystem::file_size(folder_ / "other");
  std::filesystem::remove(folder_ / "other");
  for (const auto on_limit : {SIG_IGN, SIG_DFL}) {
    for (rlim_t limit = 0; limit < size; limit += 1 + size / 13) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::signal(SIGXFSZ, on_limit);
        const rlimit core{0, 0}, bytes{limit, limit};
        ::setrlimit(RLIMIT_CORE, &core);
        ::setrlimit(RLIMIT_FSIZE, &bytes);
        try {
          save(full_);
        } catch (const Error& error) {
          ::_exit(std::string(error.what()).find("p.prefixes: cannot write") != std::string::npos ? 7 : 8);
        }
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      EXPECT_EQ(read_file(path_), before) << limit;
      if (on_limit == SIG_DFL) {
        ASSERT_TRUE(WIFSIGNALED(status)) << limit;
        continue;
      }
      ASSERT_TRUE(WIFEXITED(status));
      EXPECT_EQ(WEXITSTATUS(status), 7) << limit;
      EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
    }
  }
  save(full_);  // the rests of the dead are in nobody's way
  Cache restored;
  EXPECT_EQ(load(restored), 6u);
}

}  // namespace
}  // namespace lathe::cache
