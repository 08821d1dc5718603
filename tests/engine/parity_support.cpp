#include "engine/parity_support.h"
#include "base/json.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/file.h"

namespace lathe::test {

std::vector<Continuation> greedy(Executor& executor, std::span<const Ids> prompts, std::size_t steps,
                                 std::int32_t barred) {
  std::vector<Continuation> results(prompts.size());
  const auto choose = [&](std::size_t i, std::span<const float> logits) {
    std::size_t best = static_cast<std::size_t>(barred);
    for (std::size_t id = best + 1; id < logits.size(); ++id) {
      if (logits[id] > logits[best]) best = id;
    }
    float second = -std::numeric_limits<float>::infinity();
    for (std::size_t id = static_cast<std::size_t>(barred); id < logits.size(); ++id) {
      if (id != best) second = std::max(second, logits[id]);
    }
    results[i].ids.push_back(static_cast<std::int32_t>(best));
    results[i].gaps.push_back(logits[best] - second);
  };
  const std::size_t rows = executor.forward().max_rows();
  std::vector<std::unique_ptr<cache::PagedKv>> states;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    states.push_back(executor.sequence());
    for (std::size_t begin = 0; begin < prompts[i].size(); begin += rows) {
      const std::size_t count = std::min(rows, prompts[i].size() - begin);
      const model::Segment segment{std::span(prompts[i]).subspan(begin, count)};
      const bool last = begin + count == prompts[i].size();
      const model::SequenceInput input{
          states[i].get(), {&segment, 1}, last ? model::Want::kLast : model::Want::kNothing};
      executor.forward().forward({&input, 1}, {},
                                 [&](std::size_t, std::uint64_t, std::span<const float> row) { choose(i, row); });
    }
  }
  for (std::size_t step = 1; step < steps; ++step) {
    std::vector<std::int32_t> last;
    for (const Continuation& result : results) last.push_back(result.ids.back());
    std::vector<model::Segment> segments;
    for (const std::int32_t& id : last) segments.push_back({{&id, 1}});
    std::vector<model::SequenceInput> inputs;
    for (std::size_t i = 0; i < prompts.size(); ++i) inputs.push_back({states[i].get(), {&segments[i], 1}});
    executor.forward().forward(inputs, {},
                               [&](std::size_t i, std::uint64_t, std::span<const float> row) { choose(i, row); });
  }
  return results;
}

void expect_greedy(Executor& executor, const std::filesystem::path& recording, std::size_t steps, double tolerance) {
  const Json recorded = read_json(recording);
  std::vector<Ids> prompts;
  for (const Json& run : recorded["runs"]) prompts.push_back(run["ids"].get<Ids>());
  ASSERT_EQ(prompts.size(), 20u);
  const auto results = greedy(executor, prompts, steps, 0);
  std::size_t compared = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Ids expected = recorded["runs"][i]["greedy"].get<Ids>();
    const auto gaps = recorded["runs"][i]["gap"].get<std::vector<double>>();
    for (std::size_t step = 0; step < steps; ++step, ++compared) {
      if (results[i].ids[step] == expected[step]) continue;
      EXPECT_LT(gaps[step], tolerance) << "prompt " << i << ", step " << step << ": " << results[i].ids[step]
                                       << " instead of " << expected[step];
      break;
    }
  }
  EXPECT_GE(compared, 19 * steps) << "too little was comparable";
}

void expect_logits(Executor& executor, const std::filesystem::path& recording, double tolerance) {
  const Json recorded = read_json(recording);
  const std::size_t vocab = recorded["n_vocab"];
  ASSERT_EQ(recorded["runs"].size(), 4u);
  for (const Json& run : recorded["runs"]) {
    const Ids ids = run["ids"].get<Ids>();
    const auto logits = executor.logits(ids);
    ASSERT_EQ(logits.size(), ids.size() * vocab);
    const auto last = floats_from_hex(run["last_logits_f32le"].get<std::string>());
    ASSERT_EQ(last.size(), vocab);
    double worst = 0;
    for (std::size_t id = 0; id < vocab; ++id) {
      worst = std::max<double>(worst, std::abs(logits[(ids.size() - 1) * vocab + id] - last[id]));
    }
    EXPECT_LT(worst, tolerance) << "last position of " << run["prompt"];
    for (std::size_t t = 0; t < ids.size(); ++t) {
      for (std::size_t k = 0; k < 5; ++k) {
        const std::size_t id = run["top5_ids"][t][k];
        EXPECT_NEAR(logits[t * vocab + id], run["top5_logits"][t][k].get<double>(), tolerance)
            << "position " << t << " of " << run["prompt"];
      }
    }
  }
}

std::vector<float> floats_from_hex(std::string_view hex) {
  std::vector<float> values(hex.size() / 8);
  for (std::size_t i = 0; i < values.size(); ++i) {
    unsigned char bytes[4];
    for (std::size_t b = 0; b < 4; ++b) {
      std::from_chars(hex.data() + i * 8 + b * 2, hex.data() + i * 8 + b * 2 + 2, bytes[b], 16);
    }
    std::memcpy(&values[i], bytes, 4);
  }
  return values;
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

arch::Weights repacked(const arch::Weights& weights, FunctionRef<std::string(const std::string& name)> codec_of) {
  arch::Weights result;
  for (const auto& [name, tensor] : weights.all()) result.add(repack(tensor, codec_named(codec_of(name))));
  return result;
}

}  // namespace lathe::test
