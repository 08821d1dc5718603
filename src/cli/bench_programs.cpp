#include "cli/bench_programs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <limits>
#include <map>
#include <thread>

#include "base/cancel.h"
#include "base/json.h"
#include "cli/common.h"
#include "cli/own_server.h"
#include "lathe/semantic.hpp"
#include "net/http_request.h"
#include "serve/load/load.h"

namespace lathe::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A chat's turn, long enough to last beside a program.
constexpr std::uint32_t kChatPrompt = 16, kChatAnswer = 240;
constexpr std::chrono::milliseconds kSettling{200}, kChatsAlone{3000};

// What was measured of one kind of client.
struct ProgramSide {
  std::vector<double> seconds, between_tokens;          // of each run; of all chats beside them
  std::uint64_t prompt_tokens = 0, prefill_tokens = 0;  // of the last run, and of the chats beside it
  std::uint64_t kv_bytes = 0;                           // that the KV memory grew by at most
};

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
Texts call_by_call(const ProgramWorkload& work, const std::string& url, std::chrono::microseconds rtt,
                   std::uint32_t tokens) {
  std::map<std::string, std::shared_future<std::string>> answers;
  for (const WorkloadCall& call : work.calls) {
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

// In one request. The texts are what is wanted, by name.
Texts as_program(const ProgramWorkload& work, const std::string& url, std::chrono::microseconds rtt,
                 std::uint32_t tokens) {
  std::vector<SemanticCall> calls;
  for (const WorkloadCall& call : work.calls) {
    SemanticCall one{{}, {{call.output, true, {}}}, tokens, 0, true};
    for (const auto& [is_name, text] : call.prompt) one.text += is_name ? "{{" + text + "}}" : text;
    one.text += "{{" + call.output + "}}";
    calls.push_back(std::move(one));
  }
  return far_away(rtt, [&] { return run_program(url, calls, {}, work.wanted); });
}

// What is seen beside a run, from its beginning to its end: how far the KV memory grows, and how others fare that chat
// with the server meanwhile.
class Watch {
 public:
  Watch(const OwnServer& server, std::uint32_t chats, std::uint64_t seed) : server_(server) {
    before_ = server.stats();
    if (chats > 0) {
      load_ = {.port = server.port(),
               .streams = chats,
               .requests = std::numeric_limits<std::uint32_t>::max(),
               .prompt_tokens = kChatPrompt,
               .generate = kChatAnswer,
               .vocab = std::min<std::uint32_t>(server.vocab(), 30000),
               .seed = seed};
      chats_ = std::async(std::launch::async, [this] { return serve::run_load(load_, &interrupt_token(), &over_); });
      std::this_thread::sleep_for(kSettling);
    }
    sampler_ = std::thread([this] {
      while (!over_) {
        most_ = std::max(most_, server_.stats().kv_bytes_in_use);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    begun_ = Clock::now();
  }
  ~Watch() { end(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void add_to(ProgramSide& side) {
    side.seconds.push_back(std::chrono::duration<double>(Clock::now() - begun_).count());
    end();
    const engine::SessionStats after = server_.stats();
    side.prompt_tokens = after.prompt_tokens - before_.prompt_tokens;
    side.prefill_tokens = after.prefill_tokens - before_.prefill_tokens;
    side.kv_bytes = std::max(side.kv_bytes, most_ - std::min(most_, before_.kv_bytes_in_use));
    if (!chats_.valid()) return;
    const serve::LoadReport report = chats_.get();
    side.between_tokens.insert(side.between_tokens.end(), report.between_tokens.begin(), report.between_tokens.end());
  }

 private:
  void end() {
    over_ = true;
    if (sampler_.joinable()) sampler_.join();
    if (chats_.valid()) chats_.wait();
  }
  const OwnServer& server_;
  engine::SessionStats before_;
  serve::LoadOptions load_;
  std::atomic<bool> over_{false};
  std::future<serve::LoadReport> chats_;
  std::thread sampler_;
  std::uint64_t most_ = 0;
  Clock::time_point begun_;
};

Json pace_json(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {{"p50", serve::quantile(seconds, 0.5)}, {"p99", serve::quantile(seconds, 0.99)}, {"count", seconds.size()}};
}

Json side_json(const ProgramSide& side, bool chats) {
  Json json = {{"seconds", median(side.seconds)},
               {"prompt_tokens", side.prompt_tokens},
               {"prefill_tokens", side.prefill_tokens},
               {"kv_bytes", side.kv_bytes}};
  if (chats) json["between_chat_tokens_seconds"] = pace_json(side.between_tokens);
  return json;
}

std::string chat_text(const Json& report) {
  const auto ms = [](const Json& pace) { return 1e3 * pace["p99"].get<double>(); };
  return fmt::format(
      "{} chats beside it: between two of their tokens p99 {:.1f} ms alone, {:.1f} and {:.1f} ms beside it\n",
      report["chats"].get<int>(), ms(report["between_chat_tokens_seconds"]),
      ms(report["call_by_call"]["between_chat_tokens_seconds"]), ms(report["program"]["between_chat_tokens_seconds"]));
}

}  // namespace

void add_program_bench_options(Options& options, ProgramBench& bench) {
  options.value("--workload", bench.workload.name, "NAME",
                "a program instead of single requests: chain, map-reduce, shared-prompt or multi-agent, run by the "
                "server and call by call");
  options.value("--rtt", bench.rtt_ms, "MS", "with --workload: how far away the client is");
  options.value("--calls", bench.workload.calls, "N",
                "with --workload: links of the chain, maps, users, or twice the agents");
  options.value("--system", bench.workload.shared, "N", "with --workload shared-prompt: tokens of the common prompt");
  options.value("--answer", bench.generate, "N", "with --workload: tokens of every answer");
  options.value("--chats", bench.chats, "N", "with --workload: streams that chat with the server meanwhile");
  options.value("--parallel", bench.server.parallel, "N", "with --workload: calls generated together");
  options.value("--latency-batch", bench.server.latency_batch, "N",
                "with --workload: calls generated together while one for latency runs; 0: --parallel");
  options.flag("--no-prefix-cache", bench.no_prefix_cache, "with --workload: every call reads its whole prompt");
  options.value("--repeat", bench.repeat, "N", "with --workload: runs of each kind, alternating; medians are told");
}

int bench_programs(const ProgramBench& bench, const ModelArgs& model, DeviceArgs device, const OutputArgs& output) {
  const WorkloadOptions& workload = bench.workload;
  if (!is_workload(workload.name))
    throw UsageError(fmt::format("there is no workload '{}'", workload.name), {},
                     "use chain, map-reduce, shared-prompt or multi-agent");
  if (workload.calls == 0 || workload.calls > 200 || bench.generate == 0 || bench.repeat == 0 ||
      bench.server.parallel == 0)
    throw UsageError("--calls must lie between 1 and 200, --answer, --repeat and --parallel must be 1 or more");
  if (device.context == 0)
    device.context = kChatPrompt + kChatAnswer + 256 + 2 * workload.shared + 2 * workload.calls * bench.generate;
  OwnServerOptions own = bench.server;
  own.prefix_cache = !bench.no_prefix_cache;
  const OwnServer server(model, device, own);
  const std::chrono::microseconds rtt = std::chrono::milliseconds(bench.rtt_ms);
  // Either kind gets prompts that no cache has seen; at first the same, to compare what comes out and to warm up.
  const ProgramWorkload both = make_workload(workload, server.tokenizer(), 0);
  const bool identical =
      call_by_call(both, server.url(), rtt, bench.generate) == as_program(both, server.url(), rtt, bench.generate);
  ProgramSide nothing, client, program;
  std::uint64_t seed = 1;
  if (bench.chats > 0) {
    Watch watch(server, bench.chats, seed++);
    std::this_thread::sleep_for(kChatsAlone);
    watch.add_to(nothing);
  }
  for (std::uint32_t run = 0; run < bench.repeat; ++run) {
    for (ProgramSide* side : {&client, &program}) {
      const ProgramWorkload work = make_workload(workload, server.tokenizer(), seed);
      Watch watch(server, bench.chats, seed++);
      (side == &client ? call_by_call : as_program)(work, server.url(), rtt, bench.generate);
      watch.add_to(*side);
      interrupt_token().check();
    }
  }
  const double gain = median(client.seconds) / median(program.seconds);
  Json report = {{"workload", workload.name},
                 {"model", model_name(model)},
                 {"calls", both.calls.size()},
                 {"rtt_seconds", 1e-3 * bench.rtt_ms},
                 {"generated_tokens_per_call", bench.generate},
                 {"parallel", own.parallel},
                 {"latency_batch", own.latency_batch},
                 {"prefix_cache", own.prefix_cache},
                 {"chats", bench.chats},
                 {"identical", identical},
                 {"call_by_call", side_json(client, bench.chats > 0)},
                 {"program", side_json(program, bench.chats > 0)},
                 {"gain", gain},
                 {"repeat", bench.repeat}};
  if (bench.chats > 0) report["between_chat_tokens_seconds"] = pace_json(nothing.between_tokens);
  if (output.json) {
    print_json(report);
  } else {
    print_text(fmt::format(
        "{}: {} calls, {} ms away: {:.3f} s call by call, {:.3f} s as a program, {:.2f}x; prompt tokens {}, computed "
        "{} and {}; KV memory {:.1f} and {:.1f} MB; texts {}\n",
        workload.name, both.calls.size(), bench.rtt_ms, median(client.seconds), median(program.seconds), gain,
        program.prompt_tokens, client.prefill_tokens, program.prefill_tokens,
        1e-6 * static_cast<double>(client.kv_bytes), 1e-6 * static_cast<double>(program.kv_bytes),
        identical ? "identical" : "DIFFERENT"));
    if (bench.chats > 0) print_text(chat_text(report));
  }
  return identical ? kExitSuccess : kExitFailure;
}

}  // namespace lathe::cli
