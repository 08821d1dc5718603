// lathe bench: prefill and decode speed of a model, and how near decoding comes to reading memory as fast as this
// machine can.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "base/cancel.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/common.h"
#include "cli/read_bandwidth.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

constexpr std::uint64_t kLargestReadBuffer = std::uint64_t{1} << 30;

struct Workload {
  std::uint32_t prompt = 512, generate = 128, repeat = 5;
  std::uint64_t seed = 0;
};

struct Speed {
  std::vector<double> prefill_seconds, decode_seconds;  // one per repeat, of the whole batch
};

// Ids all over the vocabulary, different for each sequence (SplitMix64).
std::vector<text::TokenId> random_ids(std::uint32_t count, std::uint32_t vocab, std::uint64_t seed) {
  std::vector<text::TokenId> ids;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    ids.push_back(static_cast<text::TokenId>((z ^ (z >> 31)) % vocab));
  }
  return ids;
}

std::vector<api::GenerateRequest> requests_for(const OpenModel& open, const Workload& work, std::uint32_t batch,
                                               std::uint32_t generate) {
  std::vector<api::GenerateRequest> requests(batch);
  for (std::uint32_t i = 0; i < batch; ++i) {
    requests[i].prompt_ids = random_ids(work.prompt, open.file.architecture.vocab_size, work.seed + i);
    requests[i].max_tokens = generate;
    requests[i].ignore_eos = true;
    requests[i].sampling.temperature = 0;
  }
  return requests;
}

double run_once(const OpenModel& open, const std::vector<api::GenerateRequest>& requests) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<api::GenerateResult> results = open.session->generate_all(requests);
  for (const api::GenerateResult& result : results) {
    if (result.stop_reason == api::StopReason::kCancelled) throw Cancelled();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The first token comes out of the prompt's own pass, so a run that generates one token is prefill, and what a longer
// run takes beyond it is decoding.
Speed measure(const OpenModel& open, const Workload& work, std::uint32_t batch, Progress& progress) {
  const auto prefill = requests_for(open, work, batch, 1);
  const auto both = requests_for(open, work, batch, work.generate);
  const bool decodes = work.generate > 1;
  Speed speed;
  for (std::uint32_t i = 0; i <= work.repeat; ++i) {
    const double first = run_once(open, prefill);
    const double all = decodes ? run_once(open, both) : first;
    progress.advance();
    if (i == 0) continue;  // warm-up
    speed.prefill_seconds.push_back(first);
    if (decodes) speed.decode_seconds.push_back(std::max(all - first, 0.0));
  }
  return speed;
}

// What decoding one token reads of the cache on average: the prompt and half of what is generated.
std::uint64_t kv_bytes_per_token(const OpenModel& open, const Workload& work, const std::string& codec) {
  std::uint64_t bytes = 0;
  for (const arch::StateGroup& group : open.model->op_list().state) {
    constexpr std::uint32_t kSlots = 64;
    const kernels::KvLayout layout{kv_codec_from(codec), group.n_kv_heads, group.k_dim, group.v_dim, kSlots};
    std::uint64_t tokens = work.prompt + work.generate / 2;
    if (group.window > 0) tokens = std::min<std::uint64_t>(tokens, group.window);
    bytes += open.runtime->backend().kv_block_bytes(layout) * tokens / kSlots * group.layers.size();
  }
  return bytes;
}

Json speed_json(std::uint64_t tokens, const std::vector<double>& seconds) {
  const double middle = median(seconds);
  Json all = Json::array();
  for (const double one : seconds) all.push_back(per_second(static_cast<double>(tokens), one));
  return {{"tokens", tokens},
          {"seconds", middle},
          {"tokens_per_second", per_second(static_cast<double>(tokens), middle)},
          {"repeats", std::move(all)}};
}

std::vector<std::uint32_t> parse_batches(const std::string& text) {
  std::vector<std::uint32_t> batches;
  for (const std::int32_t batch : parse_id_list(text, "--batch")) {
    if (batch < 1 || batch > 4096) throw UsageError(fmt::format("--batch takes sizes from 1 to 4096, not {}", batch));
    batches.push_back(static_cast<std::uint32_t>(batch));
  }
  if (batches.empty()) throw UsageError("--batch wants at least one size");
  return batches;
}

std::string summary(const Json& report) {
  std::string text = fmt::format("{:<10}{:>16}{:>16}\n", "batch", "prefill tok/s", "decode tok/s");
  for (const Json& row : report["batches"]) {
    text += fmt::format("{:<10}{:>16.1f}{:>16.1f}\n", row["batch"].get<int>(),
                        row["prefill"]["tokens_per_second"].get<double>(),
                        row["decode"]["tokens_per_second"].get<double>());
  }
  const Json& decode = report["decode"];
  text += fmt::format("decode reads {} a token: {:.2f} GB/s, {:.0f} % of the {:.2f} GB/s this machine reads\n",
                      readable_bytes(decode["bytes_per_token"].get<std::uint64_t>()),
                      decode["bandwidth_gbps"].get<double>(), 100 * decode["fraction_of_peak_bandwidth"].get<double>(),
                      decode["peak_bandwidth_gbps"].get<double>());
  return text + fmt::format("peak memory {}\n", readable_bytes(report["peak_rss_bytes"].get<std::uint64_t>()));
}

}  // namespace

int bench_verb(Arguments arguments) {
  for (const Verb& inner : inner_verbs("bench")) {
    if (!arguments.empty() && arguments.front() == inner.name) return inner.run(arguments.subspan(1));
  }
  ModelArgs model;
  DeviceArgs device;
  OutputArgs output;
  Workload work;
  std::optional<std::uint32_t> prompt;
  std::string batch_list = "1";
  Options options(
      "bench", "[MODEL] [options]",
      "Measures how fast a model reads a prompt (prefill) and generates (decode): after a warm-up, the median "
      "of several runs over random tokens. Decoding is held against reading memory with the same threads. "
      "lathe bench matmul times single linear layers, lathe bench attention one layer's attention, lathe bench serve "
      "a server under load; each has a -h of its own.");
  add_model_options(options, model, false);
  options.value("-p,--prompt", prompt, "N", "tokens of the prompt", fmt::to_string(work.prompt));
  options.value("-n,--tokens", work.generate, "N", "tokens to generate");
  options.value("--repeat", work.repeat, "N", "runs that count");
  options.value("--batch", batch_list, "SIZES", "sequences at a time (1,4,16)");
  options.value("--seed", work.seed, "N", "of the random tokens");
  add_device_options(options, device, "tokens of context; 0: as many as -p and -n need");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  if (prompt) work.prompt = *prompt;
  if (work.prompt == 0 || work.generate == 0 || work.repeat == 0)
    throw UsageError("-p, -n and --repeat must be 1 or more");
  std::vector<std::uint32_t> batches = parse_batches(batch_list);
  const OpenModel open =
      open_model(model, device, output, [&](const arch::Architecture& shape, engine::SessionOptions& session) {
        // Learned positions end where training did: the usual prompt gives way, an explicit one is an error.
        if (!prompt && shape.positions_end() && shape.context_length > work.generate + 1) {
          work.prompt = std::min(work.prompt, shape.context_length - work.generate - 1);
        }
        const std::uint64_t needed = std::uint64_t{work.prompt} + work.generate + 1;
        if (session.context == 0) session.context = narrow<std::uint32_t>(needed, "-p + -n");
        session.max_batch = *std::max_element(batches.begin(), batches.end());
        session.prefix_cache = false;
      });

  Progress progress("bench", batches.size() * (work.repeat + 1), !output.quiet);
  Json rows = Json::array();
  Json prefill, decode;
  for (const std::uint32_t batch : batches) {
    const Speed speed = measure(open, work, batch, progress);
    rows.push_back({{"batch", batch},
                    {"prefill", speed_json(std::uint64_t{batch} * work.prompt, speed.prefill_seconds)},
                    {"decode", speed_json(std::uint64_t{batch} * (work.generate - 1), speed.decode_seconds)}});
    if (prefill.is_null() || batch == 1) {
      prefill = rows.back()["prefill"];
      decode = rows.back()["decode"];
      decode["batch"] = batch;
    }
  }
  const std::uint64_t peak_rss = peak_rss_bytes();  // before the buffer that bandwidth is measured with

  // A batch reads the weights once for all its sequences, and each sequence its own cache.
  const std::uint64_t kv = kv_bytes_per_token(open, work, device.kv_codec);
  const std::uint64_t weights = open.model->bytes_per_token() / decode["batch"].get<std::uint64_t>();
  const double peak = measure_read_bandwidth(static_cast<int>(device.threads),
                                             std::min(open.model->bytes_per_token() + kv, kLargestReadBuffer));
  const double reached = decode["tokens_per_second"].get<double>() * static_cast<double>(weights + kv);
  decode["bytes_per_token"] = weights + kv;
  decode["weight_bytes_per_token"] = weights;
  decode["kv_bytes_per_token"] = kv;
  decode["bandwidth_gbps"] = reached / 1e9;
  decode["peak_bandwidth_gbps"] = peak / 1e9;
  decode["fraction_of_peak_bandwidth"] = peak > 0 ? reached / peak : 0;
  const Json report = {{"model", open.file.path},
                       {"parameters", open.model->parameters()},
                       {"backend", open.runtime->backend().name()},
                       {"device", open.runtime->backend().description()},
                       {"threads", device.threads > 0 ? static_cast<int>(device.threads) : usable_cores()},
                       {"prompt_tokens", work.prompt},
                       {"generated_tokens", work.generate},
                       {"repeat", work.repeat},
                       {"prefill", std::move(prefill)},
                       {"decode", std::move(decode)},
                       {"batches", std::move(rows)},
                       {"peak_rss_bytes", peak_rss}};
  if (output.json) {
    print_json(report);
  } else {
    print_text(summary(report));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
