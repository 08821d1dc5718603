#include "cli/program_workloads.h"

#include <algorithm>
#include <iterator>
#include <random>

#include "cli/common.h"

namespace lathe::cli {
namespace {

constexpr std::string_view kWorkloads[] = {"chain", "map-reduce", "shared-prompt", "multi-agent"};

// `tokens` tokens or a few more; the same for the same seed.
std::string words(const text::Tokenizer& tokenizer, std::size_t tokens, std::uint64_t seed) {
  static constexpr std::string_view kWords[] = {"the",  "dog",  "and", "a",    "big",  "tree", "was", "little",
                                                "girl", "went", "to",  "play", "with", "her",  "mom", "ball"};
  std::mt19937_64 random(seed);
  std::string text;
  for (std::size_t more = tokens; more > 0;) {
    for (std::size_t i = 0; i < std::max<std::size_t>(1, more / 3); ++i)
      text += fmt::format("{} ", kWords[random() % 16]);
    const std::size_t now = tokenizer.encode(text).size();
    more = now >= tokens ? 0 : tokens - now;
  }
  return text;
}

}  // namespace

bool is_workload(std::string_view name) {
  return std::find(std::begin(kWorkloads), std::end(kWorkloads), name) != std::end(kWorkloads);
}

ProgramWorkload make_workload(const WorkloadOptions& options, const text::Tokenizer& tokenizer, std::uint64_t seed) {
  ProgramWorkload work;
  const auto own = [&](std::size_t tokens, std::uint64_t n) { return words(tokenizer, tokens, seed * 1000 + n); };
  const auto name = [](const char* what, std::uint32_t i) { return fmt::format("{}{}", what, i); };
  if (options.name == "chain") {  // each call summarises what it is given and the summary so far
    for (std::uint32_t i = 0; i < options.calls; ++i) {
      WorkloadCall call{name("s", i), {{false, own(64, i)}}};
      if (i > 0) call.prompt.emplace_back(true, name("s", i - 1));
      call.prompt.emplace_back(false, " In short:");
      work.calls.push_back(std::move(call));
    }
    work.wanted = {work.calls.back().output};
  } else if (options.name == "map-reduce") {
    WorkloadCall reduce{"all", {}};
    for (std::uint32_t i = 0; i < options.calls; ++i) {
      work.calls.push_back({name("m", i), {{false, own(128, i) + " In short:"}}});
      reduce.prompt.emplace_back(true, name("m", i));
    }
    reduce.prompt.emplace_back(false, " All in all:");
    work.calls.push_back(std::move(reduce));
    work.wanted = {"all"};
  } else if (options.name == "shared-prompt") {  // one long system prompt, many users
    const std::string system = own(options.shared, 0);
    for (std::uint32_t i = 0; i < options.calls; ++i) {
      work.calls.push_back({name("u", i), {{false, system}, {false, own(16, i + 1)}}});
      work.wanted.push_back(name("u", i));
    }
  } else {  // multi-agent: a design, files written to it, each reviewed in sight of all and revised, three rounds
    const std::string role = own(200, 0);
    work.calls.push_back({"design", {{false, role + " Design:"}}});
    std::vector<std::string> files;
    const std::uint32_t agents = std::max(1u, options.calls / 2);
    for (std::uint32_t round = 0; round < 3; ++round) {
      std::vector<std::string> next;
      for (std::uint32_t i = 0; i < agents; ++i) {
        WorkloadCall call{fmt::format("file{}v{}", i, round), {{false, role + " Design:"}, {true, "design"}}};
        for (const std::string& file : files) call.prompt.emplace_back(true, file);
        call.prompt.emplace_back(false, fmt::format(" File {}:", i));
        next.push_back(call.output);
        work.calls.push_back(std::move(call));
      }
      files = std::move(next);
    }
    WorkloadCall all{"result", {{false, role}}};
    for (const std::string& file : files) all.prompt.emplace_back(true, file);
    work.calls.push_back(std::move(all));
    work.wanted = {"result"};
  }
  return work;
}

}  // namespace lathe::cli
