// Greedy continuation of many prompts at once on the executor, and comparison with recorded ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/model_file.h"
#include "reference/tiny_model.h"

namespace lathe::test {

using Ids = std::vector<std::int32_t>;

struct Continuation {
  Ids ids;
  std::vector<float> gaps;  // top-1 minus top-2 logit of each step
};

// `steps` tokens after each prompt, the highest logit each time, the lowest id on a tie; ids below `barred` never.
// All prompts advance together: the batch does not change a row's result.
std::vector<Continuation> greedy(Executor& executor, std::span<const Ids> prompts, std::size_t steps,
                                 std::int32_t barred = 0);

// Every prompt of a greedy-*.json recording. A step may differ only where the recording's own gap is below `tolerance`
// (the texts part there, so the rest of that prompt is not compared).
void expect_greedy(Executor& executor, const std::filesystem::path& recording, std::size_t steps, double tolerance);

// A logits-*.json recording: all logits of the last position, and the top five of every position.
void expect_logits(Executor& executor, const std::filesystem::path& recording, double tolerance);

// Little-endian float32 written as hex.
std::vector<float> floats_from_hex(std::string_view hex);

Json read_json(const std::filesystem::path& path);

// The weights under other codecs: F32 for everything, or what `codec_of` names for a tensor.
arch::Weights repacked(const arch::Weights& weights, FunctionRef<std::string(const std::string& name)> codec_of);

}  // namespace lathe::test
