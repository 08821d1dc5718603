// Lathe beside llama.cpp on the same files, threads and token counts, the two in turn, several times over; prints the
// median of each and of the ratio, pair by pair, so that a machine whose speed drifts does not decide the outcome.
//   npm install --prefix bench/peers
//   node bench/peers/compare.mjs [--threads 2] [--prompt 256] [--generate 64] [--rounds 5] [--batch 1] [--kernel auto]
//     [--variant haswell] MODEL.gguf|OURS=THEIRS.gguf ...
// --kernel pins Lathe's instruction set and --variant llama.cpp's build for one (haswell is AVX2); left out, each picks.
// A context of 4k is --prompt 4096: decoding goes on behind the prompt.
// OURS=THEIRS runs two files of one model, for codecs that only one of the two has.
// The headers of the prebuilt library are those of the release that the package carries as a bundle of git.
//   node bench/peers/compare.mjs --llama-bench PATH [--llama-bench-args "-fa 1 -rtr 1"] ... MODEL.gguf ...
// takes a build's own llama-bench (ik_llama.cpp's, or llama.cpp's) for the peer instead.
import {execFileSync} from "node:child_process";
import {mkdtempSync, readdirSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {readOptions} from "./options.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const options = {"llama-bench": "", "llama-bench-args": "", kernel: "auto", variant: "", threads: 2, prompt: 256, generate: 64, rounds: 5, batch: 1, lathe: join(here, "../../build/release/bin/lathe")};
const models = readOptions(options);
const {kernel, variant, threads, prompt, generate, rounds, batch, lathe} = options;

const run = (command, args) => JSON.parse(execFileSync(command, args.map(String), {stdio: ["ignore", "pipe", "ignore"]}));
const runLathe = (model) => {
  const result = run(lathe, ["bench", model, "-t", threads, "-p", prompt, "-n", generate, "--repeat", 1, "--batch", batch,
    "--kernel", kernel, "--json"]);
  return {
    prefill: result.prefill.tokens_per_second,
    decode: result.decode.tokens_per_second,
    share: result.decode.fraction_of_peak_bandwidth,
  };
};

// llama.cpp's prebuilt library through a small program of ours.
const libraryPeer = () => {
  // The library's file names carry its version.
  const libraries = join(here, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64");
  const library = (stem) => join(libraries, readdirSync(libraries).find((name) => name.startsWith(stem) && name.endsWith(".so")));
  const folder = mkdtempSync(join(tmpdir(), "lathe-peers-"));
  process.on("exit", () => rmSync(folder, {recursive: true}));
  const peer = join(folder, "llama_cpp"), release = join(folder, "release");
  execFileSync("git", ["clone", "--quiet", join(here, "node_modules/node-llama-cpp/llama/gitRelease.bundle"), release], {stdio: ["ignore", "ignore", "ignore"]});
  execFileSync("c++", ["-std=c++20", "-O2", join(here, "llama_cpp.cpp"), "-I", join(release, "include"), "-I", join(release, "ggml/include"),
    library("libllama.v"), library("libggml.v"), library("libggml-base"), `-Wl,-rpath,${libraries}`, "-o", peer], {stdio: "inherit"});
  const backend = variant ? library(`libggml-cpu-${variant}`) : libraries;
  return (model) => run(peer, [backend, model, threads, prompt, generate, batch]);
};

// Decoding behind the prompt is -gp with ik_llama.cpp and a depth with llama.cpp.
const benchPeer = (program) => {
  if (Number(batch) !== 1) throw new Error("llama-bench decodes one sequence: leave --batch out");
  const help = execFileSync(program, ["--help"], {encoding: "utf8"});
  const decoding = help.includes("-gp") ? ["-n", 0, "-gp", `${prompt},${generate}`] : ["-n", generate, "-d", `0,${prompt}`];
  const more = options["llama-bench-args"].split(" ").filter(Boolean);
  return (model) => {
    const rows = run(program, ["-m", model, "-t", threads, "-p", prompt, ...decoding, "-r", 1, "-o", "json", ...more]);
    return {prefill: rows.find((row) => row.n_gen === 0).avg_ts, decode: rows.findLast((row) => row.n_gen > 0).avg_ts};
  };
};
const runPeer = options["llama-bench"] ? benchPeer(options["llama-bench"]) : libraryPeer();

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(["model", "prefill Lathe", "peer", "ratio", "decode Lathe", "peer", "ratio", "share of read bandwidth"]);
row(Array(8).fill("---"));
for (const model of models) {
  const [mine, other = mine] = model.split("=");
  const pairs = Array.from({length: rounds}, () => ({ours: runLathe(mine), theirs: runPeer(other)}));
  const cells = (kind) => [
    median(pairs.map(({ours}) => ours[kind])).toFixed(1),
    median(pairs.map(({theirs}) => theirs[kind])).toFixed(1),
    median(pairs.map(({ours, theirs}) => ours[kind] / theirs[kind])).toFixed(2),
  ];
  const share = (100 * median(pairs.map(({ours}) => ours.share))).toFixed(0) + " %";
  row([[mine, other].map((file) => file.split("/").at(-1)).filter((name, i, all) => i === 0 || name !== all[0]).join(" : "), ...cells("prefill"), ...cells("decode"), share]);
}
