// llama.cpp behind node-llama-cpp's batching, under the load of `lathe bench serve`, without HTTP between: prints the same
// figures. A run of serve.mjs, which starts it in turn with a Lathe server:
//   node batching.mjs MODEL.gguf THREADS STREAMS PROMPT_TOKENS GENERATED_TOKENS VOCABULARY
// Every stream asks four times, its next prompt when the answer before is whole, in a sequence of the context.
import {getLlama} from "node-llama-cpp";

const [modelPath, ...numbers] = process.argv.slice(2);
const [threads, streams, prompt, generate, vocabulary] = numbers.map(Number);
const requests = 4;

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: "error"});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({sequences: streams, contextSize: prompt + generate + 8, batchSize: 512, threads});
const randomPrompt = () => Array.from({length: prompt}, () => 3 + Math.floor(Math.random() * (vocabulary - 3)));

const firstToken = [], betweenTokens = [];
let generated = 0;

async function stream(sequence, asks) {
  for (let ask = 0; ask < asks; ++ask) {
    await sequence.clearHistory();
    const begin = performance.now();
    let last = 0, tokens = 0;
    for await (const _ of sequence.evaluate(randomPrompt(), {temperature: 0, yieldEogToken: true})) {
      const now = performance.now();
      if (tokens === 0) firstToken.push((now - begin) / 1e3);
      else betweenTokens.push((now - last) / 1e3);
      last = now;
      if (++tokens === generate) break;
    }
    generated += tokens;
  }
}

const sequences = Array.from({length: streams}, () => context.getSequence());
await Promise.all(sequences.map((one) => stream(one, 1))); // warm
firstToken.length = betweenTokens.length = generated = 0;
const begin = performance.now();
await Promise.all(sequences.map((one) => stream(one, requests)));
const seconds = (performance.now() - begin) / 1e3;

const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];
const figures = (values) => ({p50: quantile(values, 0.5), p99: quantile(values, 0.99), count: values.length});
console.log(JSON.stringify({streams: [{streams, seconds, generated_tokens: generated, generated_tokens_per_second: generated / seconds,
  first_token_seconds: figures(firstToken), between_tokens_seconds: figures(betweenTokens)}]}));
process.exit(0);
