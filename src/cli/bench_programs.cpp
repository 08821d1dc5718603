#include "cli/bench_programs.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "base/cancel.h"
#include "base/json.h"
#include "cli/common.h"
#include "cli/own_server.h"
#include "lathe/semantic.hpp"
#include "net/http_request.h"

namespace lathe::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kWorkloads[] = {"chain", "map-reduce", "shared-prompt", "multi-agent"};

// A call of a workload: what stands before its output, as text and names of others' outputs.
struct Call {
  std::string output;
  std::vector<std::pair<bool, std::string>> prompt;  // (is a name, text or name)
};

struct ProgramWork {
  std::vector<Call> calls;
  std::vector<std::string> wanted;
};

// Words of no meaning, `tokens` tokens of them or a few more; the same for the same seed.
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

ProgramWork workload_of(const ProgramBench& bench, const text::Tokenizer& tokenizer, std::uint64_t seed) {
  ProgramWork work;
  const auto own = [&](std::size_t tokens, std::uint64_t n) { return words(tokenizer, tokens, seed * 1000 + n); };
  const auto name = [](const char* what, std::uint32_t i) { return fmt::format("{}{}", what, i); };
  if (bench.workload == "chain") {  // each call summarises what it is given and the summary so far
    for (std::uint32_t i = 0; i < bench.calls; ++i) {
      Call call{name("s", i), {{false, own(64, i)}}};
      if (i > 0) call.prompt.emplace_back(true, name("s", i - 1));
      call.prompt.emplace_back(false, " In short:");
      work.calls.push_back(std::move(call));
    }
    work.wanted = {work.calls.back().output};
  } else if (bench.workload == "map-reduce") {
    Call reduce{"all", {}};
    for (std::uint32_t i = 0; i < bench.calls; ++i) {
      work.calls.push_back({name("m", i), {{false, own(128, i) + " In short:"}}});
      reduce.prompt.emplace_back(true, name("m", i));
    }
    reduce.prompt.emplace_back(false, " All in all:");
    work.calls.push_back(std::move(reduce));
    work.wanted = {"all"};
  } else if (bench.workload == "shared-prompt") {  // one long system prompt, many users
    const std::string system = own(bench.shared, 0);
    for (std::uint32_t i = 0; i < bench.calls; ++i) {
      work.calls.push_back({name("u", i), {{false, system}, {false, own(16, i + 1)}}});
      work.wanted.push_back(name("u", i));
    }
  } else {  // multi-agent: a design, files written to it, each reviewed in sight of all and revised, three rounds
    const std::string role = own(200, 0);
    work.calls.push_back({"design", {{false, role + " Design:"}}});
    std::vector<std::string> files;
    const std::uint32_t agents = std::max(1u, bench.calls / 2);
    for (std::uint32_t round = 0; round < 3; ++round) {
      std::vector<std::string> next;
      for (std::uint32_t i = 0; i < agents; ++i) {
        Call call{fmt::format("file{}v{}", i, round), {{false, role + " Design:"}, {true, "design"}}};
        for (const std::string& file : files) call.prompt.emplace_back(true, file);
        call.prompt.emplace_back(false, fmt::format(" File {}:", i));
        next.push_back(call.output);
        work.calls.push_back(std::move(call));
      }
      files = std::move(next);
    }
    Call all{"result", {{false, role}}};
    for (const std::string& file : files) all.prompt.emplace_back(true, file);
    work.calls.push_back(std::move(all));
    work.wanted = {"result"};
  }
  return work;
}

// Half of the round trip before what `body` does and half behind it.
template <class Body>
auto far_away(std::chrono::microseconds rtt, const Body& body) {
  std::this_thread::sleep_for(rtt / 2);
  auto result = body();
  std::this_thread::sleep_for(rtt / 2);
  return result;
}

using Texts = std::map<std::string, std::string>;

// The application's own loop: a call is made when the answers it needs have come, a thread for each.
Texts call_by_call(const ProgramWork& work, const std::string& url, std::chrono::microseconds rtt,
                   std::uint32_t tokens) {
  std::map<std::string, std::shared_future<std::string>> answers;
  for (const Call& call : work.calls) {
    answers[call.output] =
        std::async(std::launch::async, [&call, &url, rtt, tokens, answers] {
          std::string prompt;
          for (const auto& [is_name, text] : call.prompt) prompt += is_name ? answers.at(text).get() : text;
          return far_away(rtt, [&] {
            const Json body = {{"prompt", prompt}, {"max_tokens", tokens}, {"temperature", 0}, {"ignore_eos", true}};
            net::HttpRequest request(net::parse_url(url + "/v1/completions"),
                                     {.method = "POST", .fields = {}, .body = body.dump()}, &interrupt_token(),
                                     std::chrono::minutes(10));
            std::string answer;
            for (auto piece = request.read(); !piece.empty(); piece = request.read())
              answer.append(piece.begin(), piece.end());
            if (request.header().status != 200) throw Error(answer.substr(0, 300), url);
            return Json::parse(answer)["choices"][0]["text"].get<std::string>();
          });
        }).share();
  }
  Texts texts;
  for (const std::string& name : work.wanted) texts[name] = answers.at(name).get();
  return texts;
}

Texts as_program(const ProgramWork& work, SemanticClient& client, std::chrono::microseconds rtt, std::uint32_t tokens) {
  std::vector<SemanticCall> calls;
  for (const Call& call : work.calls) {
    SemanticCall one{{}, {{call.output, true, {}}}, tokens, 0, true};
    for (const auto& [is_name, text] : call.prompt) one.text += is_name ? "{{" + text + "}}" : text;
    one.text += "{{" + call.output + "}}";
    calls.push_back(std::move(one));
  }
  const auto ids = far_away(rtt, [&] { return client.submit(calls); });
  std::map<std::string, std::future<std::string>> answers;
  for (const std::string& name : work.wanted) {
    answers[name] = std::async(std::launch::async, [&, name] {
      return far_away(rtt, [&] { return client.get(ids.at(name), Criterion::kLatency); });
    });
  }
  Texts texts;
  for (auto& [name, answer] : answers) texts[name] = answer.get();
  return texts;
}

}  // namespace

void add_program_bench_options(Options& options, ProgramBench& bench) {
  options.value("--workload", bench.workload, "NAME",
                "a program instead of single requests: chain, map-reduce, shared-prompt or multi-agent, run by the "
                "server and call by call");
  options.value("--rtt", bench.rtt_ms, "MS", "with --workload: how far away the client is");
  options.value("--calls", bench.calls, "N", "with --workload: links of the chain, maps, users, or twice the agents");
  options.value("--system", bench.shared, "N", "with --workload shared-prompt: tokens of the common prompt");
  options.value("--answer", bench.generate, "N", "with --workload: tokens of every answer");
  options.value("--parallel", bench.parallel, "N", "with --workload: calls generated together");
  options.value("--repeat", bench.repeat, "N", "with --workload: runs of each kind, alternating; medians are told");
}

int bench_programs(const ProgramBench& bench, const ModelArgs& model, DeviceArgs device, const OutputArgs& output) {
  if (std::find(std::begin(kWorkloads), std::end(kWorkloads), bench.workload) == std::end(kWorkloads))
    throw UsageError(fmt::format("there is no workload '{}'", bench.workload), {},
                     "use chain, map-reduce, shared-prompt or multi-agent");
  if (bench.calls == 0 || bench.calls > 200 || bench.generate == 0 || bench.repeat == 0 || bench.parallel == 0)
    throw UsageError("--calls must lie between 1 and 200, --answer, --repeat and --parallel must be 1 or more");
  if (device.context == 0) device.context = 512 + 2 * bench.shared + 2 * bench.calls * bench.generate;
  OwnServer server(model, device, {.parallel = bench.parallel, .chunk = bench.chunk});
  const std::chrono::microseconds rtt = std::chrono::milliseconds(bench.rtt_ms);
  std::vector<double> alone, together;
  engine::SessionStats work_alone, work_together;
  bool identical = true;
  for (std::uint32_t run = 0; run <= bench.repeat; ++run) {  // the first is the warm-up
    // Either kind gets prompts that no cache has seen; the same texts once, to compare what comes out.
    const ProgramWork first = workload_of(bench, server.tokenizer(), 2 * run),
                      second = workload_of(bench, server.tokenizer(), run == 0 ? 0 : 2 * run + 1);
    engine::SessionStats before = server.stats();
    auto begin = Clock::now();
    const Texts said = call_by_call(first, server.url(), rtt, bench.generate);
    const double client_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    engine::SessionStats between = server.stats();
    SemanticClient client(server.url());
    begin = Clock::now();
    const Texts got = as_program(second, client, rtt, bench.generate);
    const double program_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    const engine::SessionStats after = server.stats();
    if (run == 0) {
      identical = said == got;
      continue;
    }
    alone.push_back(client_seconds);
    together.push_back(program_seconds);
    work_alone.prefill_tokens = between.prefill_tokens - before.prefill_tokens;
    work_alone.prompt_tokens = between.prompt_tokens - before.prompt_tokens;
    work_together.prefill_tokens = after.prefill_tokens - between.prefill_tokens;
    work_together.prompt_tokens = after.prompt_tokens - between.prompt_tokens;
  }
  const double client = median(alone), program = median(together);
  const std::size_t calls = workload_of(bench, server.tokenizer(), 0).calls.size();
  const Json report = {{"workload", bench.workload},
                       {"model", model_name(model)},
                       {"calls", calls},
                       {"rtt_seconds", 1e-3 * bench.rtt_ms},
                       {"generated_tokens_per_call", bench.generate},
                       {"parallel", bench.parallel},
                       {"identical", identical},
                       {"call_by_call",
                        {{"seconds", client},
                         {"prompt_tokens", work_alone.prompt_tokens},
                         {"prefill_tokens", work_alone.prefill_tokens}}},
                       {"program",
                        {{"seconds", program},
                         {"prompt_tokens", work_together.prompt_tokens},
                         {"prefill_tokens", work_together.prefill_tokens}}},
                       {"gain", client / program},
                       {"repeat", bench.repeat}};
  if (output.json) {
    print_json(report);
  } else {
    print_text(
        fmt::format("{}: {} calls, {} ms away: {:.3f} s call by call, {:.3f} s as a program, {:.2f}x; prompt "
                    "tokens {}, computed {} and {}; texts {}\n",
                    bench.workload, calls, bench.rtt_ms, client, program, client / program, work_together.prompt_tokens,
                    work_alone.prefill_tokens, work_together.prefill_tokens, identical ? "identical" : "DIFFERENT"));
  }
  return identical ? kExitSuccess : kExitFailure;
}

}  // namespace lathe::cli
