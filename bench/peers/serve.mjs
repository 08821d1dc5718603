// A Lathe server beside llama.cpp's (or a fork's) on the same file, threads and load, the two in turn, several times
// over; prints the medians of each and of the ratios, pair by pair, as a Markdown table.
//   npm install --prefix bench/peers
//   node bench/peers/serve.mjs [--peer PATH/llama-server] [--threads 2] [--streams 1,4,16,64] [--prompt 64] [--generate 64]
//     [--rounds 3] MODEL.gguf ...
// Either server runs alone. The load is that of `lathe bench serve --url`: streamed completions of random token ids that
// no cache has seen, greedy, end tokens ignored. A llama-server gets as many slots as there are streams (-np), each with
// the context that the load needs, continuous batching, and its own defaults otherwise; without --peer the peer is
// llama.cpp behind node-llama-cpp's batching (batching.mjs), which has no HTTP between.
import {execFileSync, spawn} from "node:child_process";
import {createServer} from "node:net";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {readOptions} from "./options.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const options = {peer: "", threads: 2, streams: "1,4,16,64", prompt: 64, generate: 64, rounds: 3, lathe: join(here, "../../build/release/bin/lathe")};
const models = readOptions(options);
const {peer, threads, prompt, generate, rounds, lathe} = options;

const freePort = () => new Promise((resolve) => {
  const socket = createServer().listen(0, "127.0.0.1", () => {
    const {port} = socket.address();
    socket.close(() => resolve(port));
  });
});

// Starts a server, runs the load against it and ends it; what `lathe bench serve` reports.
async function measure(command, args, port, vocab, streams) {
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(command, args.map(String), {stdio: "ignore"});
  try {
    for (let tries = 0; ; ++tries) {
      const up = await fetch(`${url}/health`).then(({ok}) => ok, () => false);
      if (up) break;
      if (tries > 600 || server.exitCode !== null) throw new Error(`${command} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const report = JSON.parse(execFileSync(lathe, ["bench", "serve", "--url", url, "--vocab", vocab, "--streams", streams,
      "-p", prompt, "-n", generate, "--json", "--quiet"].map(String), {stdio: ["ignore", "pipe", "inherit"]}));
    return report.streams[0];
  } finally {
    const ended = new Promise((resolve) => server.on("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  }
}

const runBatching = (model, streams, vocab) => JSON.parse(execFileSync("node", [join(here, "batching.mjs"), model, threads, streams,
  prompt, generate, vocab].map(String), {stdio: ["ignore", "pipe", "ignore"]})).streams[0];

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(["model", "streams", "tokens/s Lathe", "peer", "ratio", "first token p50 ms Lathe", "peer", "p99 Lathe", "peer", "between tokens p99 ms Lathe", "peer"]);
row(Array(11).fill("---"));
for (const model of models) {
  const vocab = JSON.parse(execFileSync(lathe, ["info", model, "--json"])).vocab_size;
  for (const streams of options.streams.split(",").map(Number)) {
    const context = Number(prompt) + Number(generate) + 32;
    const pairs = [];
    for (let round = 0; round < rounds; ++round) {
      let port = await freePort();
      const ours = await measure(lathe, ["serve", model, "-t", threads, "--port", port, "--parallel", streams, "--ctx", context,
        "--quiet"], port, vocab, streams);
      port = await freePort();
      const theirs = peer === "" ? runBatching(model, streams, vocab) : await measure(peer, ["-m", model, "-t", threads, "-tb", threads, "--port", port, "-np", streams, "-c", context * streams,
        "-cb"], port, vocab, streams);
      pairs.push({ours, theirs});
    }
    const of = (side, get) => median(pairs.map((pair) => get(pair[side])));
    const both = (get, digits) => [of("ours", get).toFixed(digits), of("theirs", get).toFixed(digits)];
    const speed = (run) => run.generated_tokens_per_second;
    row([model.split("/").at(-1), streams, ...both(speed, 1), median(pairs.map(({ours, theirs}) => speed(ours) / speed(theirs))).toFixed(2),
      ...both((run) => 1e3 * run.first_token_seconds.p50, 1), ...both((run) => 1e3 * run.first_token_seconds.p99, 1), ...both((run) => 1e3 * run.between_tokens_seconds.p99, 2)]);
  }
}
