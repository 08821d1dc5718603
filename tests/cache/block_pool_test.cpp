// The pool of KV blocks: budget, sharing, and what happens when it is used up.
#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <set>

#include "reference/fake_backend.h"
#include "reference/tiny_model.h"

namespace lathe::cache {
namespace {

constexpr kernels::KvLayout kLayout{kernels::KvCodec::kF16, 2, 16, 16, 16};
constexpr std::uint32_t kLayers = 3;

std::uint64_t block_bytes() { return test::cpu()->kv_block_bytes(kLayout) * kLayers; }

TEST(BlockPool, HoldsAsManyBlocksAsTheBudgetPays) {
  BlockPool pool(test::cpu(), kLayout, kLayers, 10 * block_bytes() + block_bytes() / 2);
  EXPECT_EQ(pool.block_bytes(), block_bytes());
  EXPECT_EQ(pool.total_blocks(), 10u);
  std::vector<BlockRef> blocks;
  std::set<void*> addresses;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(pool.used_blocks(), static_cast<std::uint64_t>(i));
    blocks.push_back(pool.allocate());
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) addresses.insert(blocks.back().address(layer));
  }
  EXPECT_EQ(addresses.size(), 10u * kLayers) << "two blocks share memory";
  EXPECT_EQ(pool.free_blocks(), 0u);
  EXPECT_THROW(pool.allocate(), OutOfBlocks);
  EXPECT_THROW(pool.allocate(), Error) << "and again";
  EXPECT_EQ(pool.used_blocks(), 10u);
  blocks.pop_back();
  EXPECT_EQ(pool.free_blocks(), 1u);
  EXPECT_NO_THROW(blocks.push_back(pool.allocate()));
}

TEST(BlockPool, RefusesABudgetOfNoBlockAtAll) {
  try {
    BlockPool pool(test::cpu(), kLayout, kLayers, block_bytes() - 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(block_bytes() - 1)), std::string::npos) << error.what();
  }
  EXPECT_THROW(BlockPool(test::cpu(), kLayout, 0, 1 << 20), Error) << "no layers";
}

TEST(BlockPool, MemoryComesAsItIsNeededAndGoesWithThePool) {
  const auto backend = test::cpu();
  const std::uint64_t before = backend->allocated_bytes();
  {
    BlockPool pool(backend, kLayout, kLayers, std::uint64_t{1} << 40);
    EXPECT_EQ(backend->allocated_bytes(), before);
    const BlockRef block = pool.allocate();
    EXPECT_GE(backend->allocated_bytes(), before + block_bytes());
    EXPECT_LE(backend->allocated_bytes(), before + (16 << 20));
  }
  EXPECT_EQ(backend->allocated_bytes(), before);
}

TEST(BlockPool, TheLastReferenceFreesABlock) {
  BlockPool pool(test::cpu(), kLayout, kLayers, 4 * block_bytes());
  BlockRef a = pool.allocate();
  EXPECT_FALSE(a.shared());
  {
    const BlockRef b = a;
    EXPECT_TRUE(a.shared());
    EXPECT_EQ(b.address(1), a.address(1));
    BlockRef c = b;
    c = pool.allocate();  // lets go of the first
    EXPECT_EQ(pool.used_blocks(), 2u);
    EXPECT_TRUE(a.shared());
  }
  EXPECT_FALSE(a.shared());
  EXPECT_EQ(pool.used_blocks(), 1u);
  BlockRef moved = std::move(a);
  EXPECT_FALSE(static_cast<bool>(a));  // NOLINT(bugprone-use-after-move): what it is about
  EXPECT_EQ(pool.used_blocks(), 1u);
  BlockRef& same = moved;
  moved = same;
  EXPECT_TRUE(static_cast<bool>(moved));
  EXPECT_FALSE(moved.shared());
  moved = {};
  EXPECT_EQ(pool.used_blocks(), 0u);
}

TEST(BlockPool, CopiesEveryLayer) {
  const auto backend = std::make_shared<test::FakeBackend>(test::cpu());
  BlockPool pool(backend, kLayout, kLayers, 4 * block_bytes());
  const auto stream = backend->make_stream();
  const BlockRef source = pool.allocate();
  const std::uint64_t layer_bytes = pool.block_bytes() / kLayers;
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    const std::vector<char> content(layer_bytes, static_cast<char>('a' + layer));
    backend->upload(*stream, source.address(layer), content.data(), layer_bytes);
  }
  const BlockRef copy = pool.copy_of(*stream, source);
  EXPECT_FALSE(source.shared());
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    std::vector<char> content(layer_bytes);
    backend->download(*stream, content.data(), copy.address(layer), layer_bytes);
    EXPECT_EQ(content, std::vector<char>(layer_bytes, static_cast<char>('a' + layer)));
  }
}

TEST(BlockPool, SurvivesABackendWithoutMemory) {
  // A block larger than any machine's address space.
  const kernels::KvLayout huge{kernels::KvCodec::kF32, 1 << 10, 1 << 10, 1 << 10, 1 << 16};
  BlockPool pool(test::cpu(), huge, 4096, std::uint64_t{1} << 62);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(pool.allocate(), Error);
    EXPECT_EQ(pool.used_blocks(), 0u);
  }
}

}  // namespace
}  // namespace lathe::cache
