// Prefixes by content: lookup, insertion, eviction in order of last use, and trees as deep as contexts are long.
#include "cache/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <random>

#include "reference/tiny_model.h"

namespace lathe::cache {
namespace {

using Content = std::vector<std::uint64_t>;
constexpr std::uint32_t kTokens = 4;
constexpr kernels::KvLayout kLayout{kernels::KvCodec::kI8, 1, 1, 1, kTokens};

Content content_of(std::initializer_list<std::uint64_t> blocks) {
  Content content;  // block b: b, b + 1, b + 2, b + 3
  for (const std::uint64_t block : blocks) {
    for (std::uint64_t i = 0; i < kTokens; ++i) content.push_back(block + i);
  }
  return content;
}

class PrefixTreeTest : public testing::Test {
 protected:
  void make_pool(std::uint64_t blocks) {
    const auto backend = test::cpu();
    pool_ = std::make_unique<BlockPool>(backend, kLayout, 1, blocks * backend->kv_block_bytes(kLayout));
    tree_ = std::make_unique<PrefixTree>(*pool_);
  }
  void SetUp() override { make_pool(16); }
  void TearDown() override { tree_.reset(); }  // before its pool

  std::vector<BlockRef> allocate(std::size_t count) {
    std::vector<BlockRef> blocks;
    for (std::size_t i = 0; i < count; ++i) blocks.push_back(pool_->allocate());
    return blocks;
  }
  // Inserts blocks of their own for the content, which then only the tree holds.
  void fill(std::string_view scope, const Content& content) {
    tree_->insert(scope, content, allocate(content.size() / kTokens));
  }
  std::size_t hit(std::string_view scope, const Content& content) { return tree_->lookup(scope, content).size(); }

  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<PrefixTree> tree_;
};

TEST_F(PrefixTreeTest, FindsTheLongestRunOfWholeBlocks) {
  const Content content = content_of({10, 20, 30});
  const auto blocks = allocate(3);
  tree_->insert("s", content, blocks);
  EXPECT_EQ(tree_->size(), 3u);
  const auto found = tree_->lookup("s", content);
  ASSERT_EQ(found.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(found[i].address(0), blocks[i].address(0));

  for (const auto& [length, expected] :
       {std::pair<std::size_t, std::size_t>{0, 0}, {3, 0}, {4, 1}, {7, 1}, {8, 2}, {11, 2}}) {
    EXPECT_EQ(hit("s", Content(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(length))), expected);
  }
  Content longer = content;
  longer.push_back(1);
  EXPECT_EQ(hit("s", longer), 3u);
  EXPECT_EQ(hit("s", content_of({20, 30})), 0u) << "a middle is no prefix";
  EXPECT_EQ(hit("s", content_of({10, 30})), 1u);
}

TEST_F(PrefixTreeTest, ComparesContentNotHashes) {
  // Every neighbour of a block that differs in one key, by one bit, misses.
  const Content content = content_of({1000});
  fill("s", content);
  for (std::size_t i = 0; i < kTokens; ++i) {
    for (int bit = 0; bit < 64; ++bit) {
      Content other = content;
      other[i] ^= std::uint64_t{1} << bit;
      EXPECT_EQ(hit("s", other), 0u);
    }
  }
  EXPECT_EQ(hit("s", content), 1u);
}

TEST_F(PrefixTreeTest, ScopesAreSeparate) {
  fill("model a", content_of({1}));
  EXPECT_EQ(hit("model b", content_of({1})), 0u);
  fill("model b", content_of({1}));
  EXPECT_EQ(tree_->size(), 2u);
  EXPECT_NE(tree_->lookup("model a", content_of({1}))[0].address(0),
            tree_->lookup("model b", content_of({1}))[0].address(0));
}

TEST_F(PrefixTreeTest, KeepsTheFirstBlockOfEqualContent) {
  const auto first = allocate(2), second = allocate(2);
  tree_->insert("s", content_of({1, 2}), first);
  tree_->insert("s", content_of({1, 3}), second);
  EXPECT_EQ(tree_->size(), 3u);
  EXPECT_EQ(tree_->lookup("s", content_of({1, 3}))[0].address(0), first[0].address(0));
  EXPECT_EQ(tree_->lookup("s", content_of({1, 3}))[1].address(0), second[1].address(0));
}

TEST_F(PrefixTreeTest, InsertsOnlyWhatHasBothContentAndBlock) {
  auto blocks = allocate(3);
  Content content = content_of({1, 2});
  content.push_back(9);
  tree_->insert("s", content, blocks);  // the third block is not full
  EXPECT_EQ(tree_->size(), 2u);
  blocks[0] = {};
  tree_->insert("t", content, blocks);  // a forgotten block ends the prefix
  EXPECT_EQ(tree_->size(), 2u);
  EXPECT_EQ(hit("t", content), 0u);
}

TEST_F(PrefixTreeTest, EvictsTheLeastRecentlyUsedFirst) {
  fill("s", content_of({1}));
  fill("s", content_of({2}));
  fill("s", content_of({3}));
  EXPECT_EQ(hit("s", content_of({1})), 1u);  // now 2 is the oldest
  EXPECT_TRUE(tree_->evict(14));
  EXPECT_EQ(pool_->free_blocks(), 14u);
  EXPECT_EQ(hit("s", content_of({2})), 0u);
  EXPECT_EQ(hit("s", content_of({3})), 1u);
  EXPECT_EQ(hit("s", content_of({1})), 1u);
  EXPECT_TRUE(tree_->evict(15));
  EXPECT_EQ(hit("s", content_of({3})), 0u);
  EXPECT_EQ(hit("s", content_of({1})), 1u);
}

TEST_F(PrefixTreeTest, AnOldBranchGoesWholeBeforeANewerLeaf) {
  fill("s", content_of({1, 2, 3, 4}));
  fill("s", content_of({9}));
  EXPECT_TRUE(tree_->evict(14));  // three blocks more
  EXPECT_EQ(hit("s", content_of({9})), 1u);
  EXPECT_EQ(hit("s", content_of({1, 2, 3, 4})), 1u);
}

TEST_F(PrefixTreeTest, EvictsLeavesBeforeTheirParents) {
  fill("s", content_of({1, 2, 3}));
  fill("s", content_of({1, 7}));
  EXPECT_EQ(tree_->size(), 4u);
  EXPECT_TRUE(tree_->evict(13));
  EXPECT_EQ(hit("s", content_of({1, 2, 3})), 2u);
  EXPECT_EQ(hit("s", content_of({1, 7})), 2u);
  EXPECT_TRUE(tree_->evict(15));
  EXPECT_EQ(hit("s", content_of({1, 7})), 1u);
  EXPECT_TRUE(tree_->evict(16));
  EXPECT_EQ(tree_->size(), 0u);
}

TEST_F(PrefixTreeTest, BlocksInUseAreNotEvicted) {
  const auto used = allocate(1);
  tree_->insert("s", content_of({1}), used);
  fill("s", content_of({2}));
  EXPECT_FALSE(tree_->evict(16));
  EXPECT_EQ(pool_->free_blocks(), 15u) << "what could be freed was";
  EXPECT_EQ(hit("s", content_of({1})), 1u);
  EXPECT_TRUE(tree_->evict(15));
  // A leaf in use also keeps its parents.
  auto leaf = tree_->lookup("s", content_of({1}));
  tree_->insert("s", content_of({1, 5}), std::vector<BlockRef>{leaf[0], pool_->allocate()});
  const auto deep = tree_->lookup("s", content_of({1, 5}));
  EXPECT_FALSE(tree_->evict(16));
  EXPECT_EQ(hit("s", content_of({1, 5})), 2u);
}

TEST_F(PrefixTreeTest, EvictionAsksForNothingWhenThereIsRoom) {
  fill("s", content_of({1}));
  EXPECT_TRUE(tree_->evict(15));
  EXPECT_EQ(tree_->size(), 1u);
}

// 100,000 blocks in one path: no recursion, and no pass over the whole tree for each block.
TEST_F(PrefixTreeTest, DeepTrees) {
  constexpr std::size_t kDepth = 100000;
  make_pool(kDepth + 1);
  Content content(kDepth * kTokens);
  std::iota(content.begin(), content.end(), 0);
  const auto start = std::chrono::steady_clock::now();
  fill("s", content);
  EXPECT_EQ(tree_->size(), kDepth);
  EXPECT_EQ(hit("s", content), kDepth);
  EXPECT_TRUE(tree_->evict(kDepth / 2));
  EXPECT_EQ(hit("s", content), kDepth / 2 + 1);
  tree_.reset();
  EXPECT_EQ(pool_->used_blocks(), 0u);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 20) << "far from linear";
}

// Random lookups, insertions and evictions against a plain map from prefix to time of last use.
TEST_F(PrefixTreeTest, BehavesLikeAMapOfPrefixes) {
  std::mt19937 random(3);
  std::map<Content, std::uint64_t> model;  // whole prefix: last use
  std::uint64_t clock = 0;
  for (int step = 0; step < 3000; ++step) {
    Content content;
    const std::size_t blocks = 1 + random() % 4;
    for (std::size_t i = 0; i < blocks; ++i) {
      for (const std::uint64_t key : content_of({random() % 3})) content.push_back(key);
    }
    const auto prefix = [&](std::size_t n) {
      return Content(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(n * kTokens));
    };
    std::size_t known = 0;
    while (known < blocks && model.contains(prefix(known + 1))) ++known;
    ++clock;
    auto found = tree_->lookup("s", content);
    ASSERT_EQ(found.size(), known) << "step " << step;
    for (std::size_t i = 1; i <= known; ++i) model[prefix(i)] = clock;
    if (random() % 2 == 0) {
      const std::size_t missing = blocks - known;
      if (!tree_->evict(missing)) continue;
      // The model drops leaves in order of last use, but for the path just found, which is held.
      while (16 - model.size() < missing) {
        auto oldest = model.end();
        for (auto it = model.begin(); it != model.end(); ++it) {
          const bool leaf = std::none_of(model.begin(), model.end(), [&](const auto& other) {
            return other.first.size() == it->first.size() + kTokens &&
                   std::equal(it->first.begin(), it->first.end(), other.first.begin());
          });
          if (leaf && it->second != clock && (oldest == model.end() || it->second < oldest->second)) oldest = it;
        }
        ASSERT_NE(oldest, model.end());
        model.erase(oldest);
      }
      for (std::size_t i = known; i < blocks; ++i) found.push_back(pool_->allocate());
      ++clock;
      tree_->insert("s", content, found);
      for (std::size_t i = 1; i <= blocks; ++i) model[prefix(i)] = clock;
    }
    ASSERT_EQ(tree_->size(), model.size()) << "step " << step;
  }
}

}  // namespace
}  // namespace lathe::cache
