// Every fuzz target on its seeds and on a few thousand mutations of them: nothing but lathe::Error may escape. Seeds
// that a parser no longer accepts would make the fuzzing worthless, so those are checked too.
#include <gtest/gtest.h>

#include <chrono>

#include "cache/prefix_file.h"
#include "formats/json_tensors.h"
#include "formats/model_file.h"
#include "fuzz/mutator.h"
#include "fuzz/raw_files.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"
#include "text/grammar/automaton.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"

namespace lathe::fuzz {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMutations = 4000;
constexpr std::chrono::milliseconds kBudget{1500};  // per target; slow machines and sanitizers do fewer mutations
constexpr std::uint64_t kAtLeast = 50;

class Replay : public testing::TestWithParam<Target> {};

TEST_P(Replay, SeedsAndMutations) {
  const Target& target = GetParam();
  const std::vector<std::string> seeds = target.seeds();
  ASSERT_FALSE(seeds.empty());
  for (const std::string& seed : seeds) target.run(seed);
  target.run("");
  const Mutator mutator(seeds);
  const auto start = Clock::now();
  for (std::uint64_t n = 0; n < kMutations && (n < kAtLeast || Clock::now() - start < kBudget); ++n) {
    const auto begin = Clock::now();
    try {
      target.run(mutator.mutation(n));
    } catch (const std::exception& error) {
      FAIL() << target.name << ", mutation " << n << ": " << error.what();
    }
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5)) << target.name << ", mutation " << n;
  }
}

TEST_P(Replay, EveryTruncationOfTheFirstSeed) {
  const Target& target = GetParam();
  const std::string seed = target.seeds().front();
  const auto start = Clock::now();
  for (std::size_t size = 0; size < seed.size(); size += 1 + size / 256) {
    if (Clock::now() - start > kBudget) break;
    try {
      target.run(std::string_view(seed).substr(0, size));
    } catch (const std::exception& error) {
      FAIL() << target.name << " cut to " << size << " bytes: " << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Model, Replay, testing::Values(model_target()),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(Prefixes, Replay, testing::Values(prefixes_target()),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(Serve, Replay, testing::Values(serve_target()),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(Parsers, Replay, testing::ValuesIn(parser_targets().begin(), parser_targets().end()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Seeds, AreModelsThatLoad) {
  for (const auto& seeds : {gguf_seeds(), lathe_seeds(), llama2c_seeds(), ctranslate2_seeds()}) {
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      EXPECT_NO_THROW(formats::load_model(Bytes::copy_of(seeds[i], "seed " + std::to_string(i))));
    }
  }
  EXPECT_NO_THROW(formats::load_model(Bytes::copy_of(raw_hugging_face(), "seed")));
  EXPECT_NO_THROW(formats::load_json_tensors(Bytes::copy_of(json_tensors_seeds()[0], "seed"), {}));
}

TEST(Seeds, AreFilesOfPrefixes) {
  constexpr kernels::KvLayout kLayout{kernels::KvCodec::kI8, 1, 1, 1, 4};
  const std::shared_ptr<kernels::Backend> backend = kernels::make_cpu_backend({.threads = 1});
  for (const std::string& seed : prefixes_seeds()) {
    cache::BlockPool pool(backend, kLayout, 1, 16 * backend->kv_block_bytes(kLayout));
    cache::PrefixTree tree(pool);
    EXPECT_EQ(cache::load_prefixes(Bytes::copy_of(seed, "seed"), tree, {1, "fuzz"}), 5u);
  }
}

TEST(Seeds, AreGrammarsThatCompile) {
  using namespace text::grammar;
  for (const std::string& seed : grammar_seeds()) EXPECT_NO_THROW(Automaton(parse_gbnf(seed))) << seed;
  for (const std::string& seed : json_schema_seeds())
    EXPECT_NO_THROW(Automaton(grammar_from_json_schema(seed))) << seed;
}

TEST(Mutator, IsDeterministicAndDoesDamage) {
  const Mutator a(gguf_seeds()), b(gguf_seeds());
  std::size_t changed = 0;
  const auto seeds = gguf_seeds();
  for (std::uint64_t n = 0; n < 100; ++n) {
    EXPECT_EQ(a.mutation(n), b.mutation(n));
    changed += a.mutation(n) != seeds[n % seeds.size()];
  }
  EXPECT_GT(changed, 80u);
}

}  // namespace
}  // namespace lathe::fuzz
