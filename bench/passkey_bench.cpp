// How far back a KV policy lets a model find things: pass keys in texts of growing length, on a model that copies by
// hand-set induction heads (tests/reference/induction_model.h). One line of JSON for each policy and length: the share
// of keys found, the bytes the cache holds at the end, seconds for a thousand tokens read and for one written.
//
//   passkey_bench TEXTS POLICY LENGTH...
#include <fmt/format.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "reference/induction_model.h"

namespace lathe::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kStep = 64, kMostDistractors = 400, kWritten = 128;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void measure(const TinyModel& tiny, const std::string& policy, std::size_t length, int texts) {
  ExecutorOptions options;
  options.policy = policy;
  options.context = static_cast<std::uint32_t>(length + 2 * kWritten);
  options.block_tokens = 32;
  options.kv = kernels::KvCodec::kF16;
  options.kv_bytes = std::uint64_t{16} << 30;
  Executor executor(tiny, cpu(2), options);
  const auto read = [&](cache::PagedKv& state, std::span<const std::int32_t> ids, model::Want want) {
    std::int32_t best = 0;
    const model::Segment segment{ids};
    const model::SequenceInput input{&state, {&segment, 1}, want};
    executor.forward().forward({&input, 1}, {}, [&](std::size_t, std::uint64_t, std::span<const float> row) {
      best = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    });
    return best;
  };
  int found = 0;
  double reading = 0, writing = 0;
  std::uint64_t bytes = 0;
  for (int i = 0; i < texts; ++i) {
    const PasskeyText text = make_passkey_text(length, std::min(kMostDistractors, length / 128), (i + 0.5) / texts,
                                               tiny.architecture.vocab_size, 1000 + static_cast<unsigned>(i));
    const auto state = executor.sequence();
    const std::span<const std::int32_t> ids(text.ids);
    const auto start = Clock::now();
    for (auto rest = ids.first(ids.size() - 1); !rest.empty(); rest = rest.subspan(std::min(kStep, rest.size())))
      read(*state, rest.first(std::min(kStep, rest.size())), model::Want::kNothing);
    reading += seconds_since(start);
    const auto question = Clock::now();
    std::int32_t last = ids.back();
    bool right = true;
    for (const std::int32_t wanted : text.answer) {
      last = read(*state, std::span(&last, 1), model::Want::kLast);
      right = right && last == wanted;
    }
    for (std::size_t n = text.answer.size(); n < kWritten; ++n)
      last = read(*state, std::span(&last, 1), model::Want::kLast);
    writing += seconds_since(question);
    found += right ? 1 : 0;
    bytes = executor.pool().used_blocks() * executor.pool().block_bytes();
  }
  fmt::print(R"({{"policy": "{}", "tokens": {}, "texts": {}, "found": {:.2f}, "kv_mib": {:.1f}, )"
             R"("read_s_per_1000": {:.4f}, "write_ms_per_token": {:.3f}}})"
             "\n",
             policy, length, texts, double(found) / texts, double(bytes) / (1 << 20), 1000 * reading / texts / length,
             1000 * writing / texts / kWritten);
  std::fflush(stdout);
}

}  // namespace
}  // namespace lathe::test

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: passkey_bench TEXTS POLICY LENGTH...\n");
    return 2;
  }
  const lathe::test::TinyModel tiny = lathe::test::make_induction_model();
  for (int i = 3; i < argc; ++i)
    lathe::test::measure(tiny, argv[2], std::strtoull(argv[i], nullptr, 10), std::atoi(argv[1]));
}
