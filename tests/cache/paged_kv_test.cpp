// A sequence's keys and values: room, copy on write, forks, truncation, and being left alone by what fails.
#include "cache/paged_kv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "reference/fake_backend.h"
#include "reference/tiny_model.h"

namespace lathe::cache {
namespace {

constexpr std::uint32_t kTokens = 4;  // per block
constexpr kernels::KvLayout kLayout{kernels::KvCodec::kF32, 1, 16, 16, kTokens};
constexpr std::uint32_t kLayers = 2;

class PagedKvTest : public testing::Test {
 protected:
  std::unique_ptr<PagedKv> make(std::vector<BlockRef> prefix = {}) {
    return std::make_unique<PagedKv>(pool_, policy_, std::move(prefix));
  }

  // Appends tokens whose value vector is filled with `marks` (plus 0.5 in layer 1).
  void append(PagedKv& kv, std::span<const float> marks) {
    kv.reserve(*stream_, marks.size());
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<float> rows;
      for (const float mark : marks) rows.insert(rows.end(), 16, mark + 0.5f * static_cast<float>(layer));
      const kernels::DeviceBuffer buffer = backend_->upload_floats(*stream_, rows);
      const auto tensor = kernels::DeviceTensor::dense(buffer.data(), marks.size(), 16);
      kv.append(*stream_, layer, tensor, tensor);
    }
    kv.commit(marks.size());
  }
  void append(PagedKv& kv, std::initializer_list<float> marks) { append(kv, std::span(marks.begin(), marks.size())); }

  // What the sequence holds: attention with a query of zeros averages the values it sees, so a window of 1 reads one.
  std::vector<float> marks(PagedKv& kv, std::uint32_t layer = 0) {
    std::vector<float> found;
    for (std::int64_t position = 0; position < kv.length(); ++position) {
      const kernels::DeviceBuffer q = backend_->allocate(16 * sizeof(float));
      const kernels::DeviceBuffer out = backend_->allocate(16 * sizeof(float));
      const auto runs = kv.segments(layer, 0);
      const kernels::AttentionSequence sequence{0, 1, position, runs};
      kernels::AttentionParams params;
      params.n_heads = 1, params.window = 1;
      backend_->attention(*stream_, kLayout, params, kernels::DeviceTensor::dense(out.data(), 1, 16),
                          kernels::DeviceTensor::dense(q.data(), 1, 16), {&sequence, 1});
      float value = 0;
      backend_->download(*stream_, &value, out.data(), sizeof(float));
      found.push_back(value - 0.5f * static_cast<float>(layer));
    }
    return found;
  }
  static std::vector<float> counting(std::size_t n, float from = 0) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), from);
    return values;
  }

  std::shared_ptr<test::FakeBackend> backend_ = std::make_shared<test::FakeBackend>(test::cpu());
  std::unique_ptr<kernels::Stream> stream_ = backend_->make_stream();
  BlockPool pool_{backend_, kLayout, kLayers, 8 * backend_->kv_block_bytes(kLayout) * kLayers};
  std::shared_ptr<const KvPolicy> policy_ = full_policy();
};

TEST_F(PagedKvTest, KeepsWhatWasAppended) {
  const auto kv = make();
  append(*kv, counting(3));
  append(*kv, counting(1, 3));
  append(*kv, counting(7, 4));
  EXPECT_EQ(kv->length(), 11);
  EXPECT_EQ(kv->blocks().size(), 3u);
  EXPECT_EQ(pool_.used_blocks(), 3u);
  EXPECT_EQ(marks(*kv), counting(11));
  EXPECT_EQ(marks(*kv, 1), counting(11));
}

TEST_F(PagedKvTest, CountsTheBlocksThatMoreTokensNeed) {
  const auto kv = make();
  EXPECT_EQ(kv->blocks_needed(0), 0u);
  EXPECT_EQ(kv->blocks_needed(1), 1u);
  EXPECT_EQ(kv->blocks_needed(4), 1u);
  EXPECT_EQ(kv->blocks_needed(5), 2u);
  append(*kv, counting(6));
  EXPECT_EQ(kv->blocks_needed(2), 0u);
  EXPECT_EQ(kv->blocks_needed(3), 1u);
  const auto fork = kv->fork();
  EXPECT_EQ(kv->blocks_needed(2), 1u) << "the partial block must be copied first";
  EXPECT_EQ(kv->blocks_needed(3), 2u);
  append(*fork, {6});
  EXPECT_EQ(kv->blocks_needed(2), 0u) << "the fork has made its own copy";
}

TEST_F(PagedKvTest, ForksShareUntilTheyWrite) {
  const auto a = make();
  append(*a, counting(6));
  const auto b = a->fork();
  EXPECT_EQ(b->length(), 6);
  EXPECT_EQ(pool_.used_blocks(), 2u);
  append(*b, {100});
  EXPECT_EQ(pool_.used_blocks(), 3u);
  append(*a, {200, 201});
  EXPECT_EQ(pool_.used_blocks(), 3u);
  append(*a, {202});
  EXPECT_EQ(marks(*a), (std::vector<float>{0, 1, 2, 3, 4, 5, 200, 201, 202}));
  EXPECT_EQ(marks(*b), (std::vector<float>{0, 1, 2, 3, 4, 5, 100}));
  EXPECT_EQ(marks(*b, 1), (std::vector<float>{0, 1, 2, 3, 4, 5, 100}));
  EXPECT_EQ(a->blocks()[0].address(0), b->blocks()[0].address(0));
}

TEST_F(PagedKvTest, AForkAtABlocksEndNeedsNoCopy) {
  const auto a = make();
  append(*a, counting(8));
  const auto b = a->fork();
  backend_->log.clear();
  append(*a, {50});
  append(*b, {60});
  EXPECT_EQ(std::count(backend_->log.begin(), backend_->log.end(), "copy"), 0);
  EXPECT_EQ(marks(*a).back(), 50);
  EXPECT_EQ(marks(*b).back(), 60);
}

// Room that was reserved and never used (another sequence of the pass failed) is not shared with a fork: both would
// write to it.
TEST_F(PagedKvTest, ReservedRoomIsNotForked) {
  const auto a = make();
  append(*a, counting(4));
  a->reserve(*stream_, 6);
  const auto b = a->fork();
  append(*a, {10, 11, 12});
  append(*b, {20, 21, 22});
  EXPECT_EQ(marks(*a), (std::vector<float>{0, 1, 2, 3, 10, 11, 12}));
  EXPECT_EQ(marks(*b), (std::vector<float>{0, 1, 2, 3, 20, 21, 22}));
}

TEST_F(PagedKvTest, ReservingAgainTakesNothingMore) {
  const auto a = make();
  a->reserve(*stream_, 6);
  EXPECT_EQ(pool_.used_blocks(), 2u);
  a->reserve(*stream_, 6);
  EXPECT_EQ(pool_.used_blocks(), 2u);
  EXPECT_EQ(a->length(), 0);
  EXPECT_EQ(a->blocks_needed(8), 0u);
}

TEST_F(PagedKvTest, StartsFromSharedBlocks) {
  const auto a = make();
  append(*a, counting(10));
  const auto b = make({a->blocks()[0], a->blocks()[1]});
  EXPECT_EQ(b->length(), 8);
  append(*b, {30});
  append(*a, {40});
  EXPECT_EQ(marks(*b), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 30}));
  EXPECT_EQ(marks(*a).back(), 40);
}

TEST_F(PagedKvTest, TruncationFreesBlocksAndCopiesBeforeWritingToASharedOne) {
  const auto a = make();
  append(*a, counting(12));
  const auto b = a->fork();
  b->truncate(20);
  EXPECT_EQ(b->length(), 12) << "there is nothing to forget";
  b->truncate(5);
  EXPECT_EQ(b->length(), 5);
  EXPECT_EQ(b->blocks().size(), 2u);
  EXPECT_EQ(pool_.used_blocks(), 3u);
  append(*b, {70, 71});
  EXPECT_EQ(marks(*b), (std::vector<float>{0, 1, 2, 3, 4, 70, 71}));
  EXPECT_EQ(marks(*a), counting(12));
  b->truncate(0);
  EXPECT_TRUE(b->blocks().empty());
  EXPECT_EQ(pool_.used_blocks(), 3u);
  append(*b, {80});
  EXPECT_EQ(marks(*b), std::vector<float>{80});
}

TEST_F(PagedKvTest, RunningOutOfBlocksLeavesTheSequenceAsItWas) {
  const auto a = make();
  append(*a, counting(6));
  const auto b = a->fork();
  const auto rest = make();
  rest->reserve(*stream_, 5 * kTokens);
  ASSERT_EQ(pool_.free_blocks(), 1u);
  // Needs a copy of the partial block and one more: the copy must not stay behind.
  EXPECT_THROW(b->reserve(*stream_, 3), OutOfBlocks);
  EXPECT_EQ(pool_.free_blocks(), 1u);
  EXPECT_EQ(b->length(), 6);
  EXPECT_EQ(b->blocks().size(), 2u);
  EXPECT_EQ(b->blocks()[1].address(0), a->blocks()[1].address(0));
  EXPECT_THROW(b->reserve(*stream_, std::uint64_t{1} << 40), OutOfBlocks);
  append(*b, {90, 91});
  EXPECT_EQ(marks(*b), (std::vector<float>{0, 1, 2, 3, 4, 5, 90, 91}));
  EXPECT_EQ(marks(*a), counting(6));
}

TEST_F(PagedKvTest, AForgettingPolicyFreesBlocksAndWillNotGoBackToThem) {
  policy_ = sinks_policy(2, 5);
  const auto kv = make();
  for (int i = 0; i < 26; ++i) append(*kv, {static_cast<float>(i)});
  EXPECT_EQ(kv->length(), 26);
  // Blocks of 4: the first holds the sinks, the last two the window.
  EXPECT_EQ(pool_.used_blocks(), 3u);
  const auto fork = kv->fork();
  EXPECT_EQ(fork->length(), 26);
  EXPECT_THROW(kv->truncate(15), Error);
  EXPECT_EQ(kv->length(), 26);
  EXPECT_EQ(pool_.used_blocks(), 3u);
  EXPECT_NO_THROW(kv->truncate(25));
  append(*kv, {99});
  EXPECT_EQ(pool_.used_blocks(), 4u) << "the fork still holds the block as it was";
  EXPECT_EQ(kv->length(), 26);
  EXPECT_NO_THROW(fork->truncate(0));
  EXPECT_EQ(pool_.used_blocks(), 3u);
}

// Random forks, appends and truncations against plain vectors.
TEST_F(PagedKvTest, BehavesLikeAVector) {
  std::mt19937 random(5);
  std::vector<std::pair<std::unique_ptr<PagedKv>, std::vector<float>>> all;
  all.emplace_back(make(), std::vector<float>{});
  float next = 0;
  for (int step = 0; step < 400; ++step) {
    const std::size_t i = random() % all.size();
    switch (random() % 4) {
      case 0:
      case 1: {
        const std::vector<float> fresh = counting(1 + random() % 5, next);
        next += 5;
        if (all[i].first->blocks_needed(fresh.size()) > pool_.free_blocks()) {
          EXPECT_THROW(all[i].first->reserve(*stream_, fresh.size()), OutOfBlocks);
          break;
        }
        const std::uint64_t expected = pool_.used_blocks() + all[i].first->blocks_needed(fresh.size());
        append(*all[i].first, fresh);
        EXPECT_EQ(pool_.used_blocks(), expected) << "blocks_needed() was wrong";
        all[i].second.insert(all[i].second.end(), fresh.begin(), fresh.end());
        break;
      }
      case 2:
        if (all.size() < 4) all.emplace_back(all[i].first->fork(), all[i].second);
        break;
      case 3: {
        const std::size_t length = random() % (all[i].second.size() + 2);
        all[i].first->truncate(length);
        all[i].second.resize(std::min(length, all[i].second.size()));
        if (all.size() == 4) all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
    }
    if (step % 10 == 0) {
      for (auto& [kv, expected] : all) ASSERT_EQ(marks(*kv), expected) << "step " << step;
    }
  }
  all.clear();
  EXPECT_EQ(pool_.used_blocks(), 0u);
}

}  // namespace
}  // namespace lathe::cache
