// What the server does: read once a second while it is looked at.
import { useRef, useState } from "preact/hooks";
import {
  type EngineStatus,
  histogramQuantile,
  hitRate,
  type ModelStatus,
  readMetrics,
  readStatus,
  type Sample,
  sample,
  type ServerStatus,
  sum,
} from "../api/status.ts";
import { bytes, duration, percent, whole } from "../parts/figures.ts";
import { usePoll } from "../parts/poll.ts";
import { Chart } from "./chart.tsx";

const slots = 120; // seconds that the charts show
const every = 1000;

interface Reading {
  status: ServerStatus;
  metrics: string;
  at: number;
}

// The latest reading, and what the charts draw.
function useReadings(): { reading: Reading | null; samples: Sample[]; error: string } {
  const [reading, setReading] = useState<Reading | null>(null);
  const [samples, setSamples] = useState<Sample[]>([]);
  const before = useRef<Reading | null>(null);
  const error = usePoll(
    () => Promise.all([readStatus(), readMetrics()]),
    ([status, metrics]) => {
      const now = { status, metrics, at: performance.now() };
      const last = before.current;
      if (last) setSamples((old) => [...old, sample(now.status, now.at, last.status, last.at)].slice(-slots));
      before.current = now;
      setReading(now);
    },
    every,
  );
  return { reading, samples, error };
}

function Tile({ label, value, more }: { label: string; value: string; more?: string }) {
  return (
    <div class="tile">
      <dt>{label}</dt>
      <dd>
        {value} {more && <small>{more}</small>}
      </dd>
    </div>
  );
}

const hits = (promptTokens: number, hitTokens: number) => {
  const rate = hitRate(promptTokens, hitTokens);
  return rate === null ? "–" : percent(rate);
};

// What a model and each of its engines have in common.
function Counts({ of }: { of: EngineStatus }) {
  const queued = of.batch_waiting > 0 ? `, ${whole(of.batch_waiting)} queued` : "";
  return (
    <>
      <td class="align-right">{whole(of.batch_running) + queued}</td>
      <td class="align-right">
        {whole(of.kv_blocks_in_use)} / {whole(of.kv_blocks_total)}
      </td>
      <td class="align-right">{hits(of.prompt_tokens_seen_total, of.prefix_hit_tokens_total)}</td>
      <td class="align-right">{whole(of.decode_tokens_total)}</td>
      <td class="align-right">{whole(of.prefill_tokens_total)}</td>
      <td class="align-right">{whole(of.preemptions_total)}</td>
    </>
  );
}

function ModelRows({ model }: { model: ModelStatus }) {
  return (
    <>
      <tr>
        <td>{model.model}</td>
        <Counts of={model} />
        <td class="align-right">{whole(model.context)}</td>
        <td class="align-right">{bytes(model.bytes)}</td>
      </tr>
      {model.engines?.map((engine, at) => (
        <tr key={at} class="engine">
          <td>engine {at + 1}</td>
          <Counts of={engine} />
          <td colSpan={2} />
        </tr>
      ))}
    </>
  );
}

function Figures({ reading, samples }: { reading: Reading; samples: Sample[] }) {
  const { status, metrics } = reading;
  const latest = samples[samples.length - 1];
  const total = sum(status, "kv_blocks_total");
  const series = (label: string, value: (one: Sample) => number | null) => ({ label, values: samples.map(value) });
  const quantiles = (name: string): [string, string] => [
    duration(histogramQuantile(metrics, name, 0.5)),
    duration(histogramQuantile(metrics, name, 0.99)),
  ];
  const first = quantiles("lathe_first_token_seconds");
  const between = quantiles("lathe_between_tokens_seconds");
  return (
    <>
      <dl class="tiles">
        <Tile label="Running" value={whole(sum(status, "batch_running"))} more={`${whole(sum(status, "batch_waiting"))} queued`} />
        <Tile label="Generated" value={whole(latest?.decodeRate ?? 0)} more="tokens/s" />
        <Tile
          label="Prefix hits"
          value={hits(sum(status, "prompt_tokens_seen_total"), sum(status, "prefix_hit_tokens_total"))}
          more="of prompt tokens"
        />
        <Tile label="KV blocks" value={whole(sum(status, "kv_blocks_in_use"))} more={`of ${whole(total)}`} />
        <Tile label="First token" value={first[0]} more={`p99 ${first[1]}`} />
        <Tile label="Between tokens" value={between[0]} more={`p99 ${between[1]}`} />
      </dl>
      <div class="charts">
        <Chart
          title="Tokens per second"
          slots={slots}
          format={whole}
          series={[series("generated", (one) => one.decodeRate), series("read", (one) => one.prefillRate)]}
        />
        <Chart
          title="Batch"
          slots={slots}
          format={whole}
          series={[series("running", (one) => one.running), series("queued", (one) => one.waiting)]}
        />
        <Chart title="KV blocks" slots={slots} format={whole} top={Math.max(1, total)} series={[series("in use", (one) => one.kvInUse)]} />
        <Chart title="Prefix hits" slots={slots} format={percent} top={1} series={[series("of prompt tokens", (one) => one.hitRate)]} />
      </div>
      <h2>Open models</h2>
      <div class="table" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th>Model</th>
              <th class="align-right">Batch</th>
              <th class="align-right">KV blocks</th>
              <th class="align-right">Prefix hits</th>
              <th class="align-right">Generated</th>
              <th class="align-right">Read</th>
              <th class="align-right">Preemptions</th>
              <th class="align-right">Context</th>
              <th class="align-right">Memory</th>
            </tr>
          </thead>
          <tbody>
            {status.models.map((model) => (
              <ModelRows key={model.model} model={model} />
            ))}
          </tbody>
        </table>
      </div>
      <p class="quiet">
        {whole(status.connections)} connections, {whole(status.active)} requests being answered. First token and time between tokens
        are medians since the start.
      </p>
    </>
  );
}

export function ServerView() {
  const { reading, samples, error } = useReadings();
  return (
    <main class="server">
      <div class="server-column">
        <h1>Server</h1>
        {error && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {reading ? <Figures reading={reading} samples={samples} /> : !error && <p class="quiet">Reading…</p>}
      </div>
    </main>
  );
}
