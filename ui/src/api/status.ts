// GET /api/status and /metrics, and what two readings say about the time between them.
import { call, getJson } from "./client.ts";
import type { Program } from "./programs.ts";

export interface EngineStatus {
  batch_running: number;
  batch_waiting: number;
  kv_blocks_in_use: number;
  kv_blocks_cached: number;
  kv_blocks_total: number;
  prompt_tokens_seen_total: number;
  prefix_hit_tokens_total: number;
  prefill_tokens_total: number;
  decode_tokens_total: number;
  forward_passes_total: number;
  preemptions_total: number;
}

// The figures are sums over its engines.
export interface ModelStatus extends EngineStatus {
  model: string;
  context: number;
  bytes: number;
  engines?: EngineStatus[]; // each of them, where there are several
}

export interface ServerStatus {
  connections: number;
  active: number;
  models: ModelStatus[];
  programs: Program[]; // those of this key
}

// What the charts draw, at one moment, over all models.
export interface Sample {
  at: number; // milliseconds
  decodeRate: number; // tokens per second since the sample before
  prefillRate: number;
  running: number;
  waiting: number;
  kvInUse: number; // blocks
  kvTotal: number;
  hitRate: number | null; // share of the prompts' tokens since the sample before; none: no prompt
}

type Count = keyof EngineStatus;

export function sum(status: ServerStatus, what: Count): number {
  return status.models.reduce((total, model) => total + model[what], 0);
}

// The share of the prompts' tokens that the prefix cache held; null: there was no prompt.
export function hitRate(promptTokens: number, hitTokens: number): number | null {
  return promptTokens > 0 ? Math.min(1, hitTokens / promptTokens) : null;
}

// A counter that went back belongs to a model that was closed: nothing is known of that second.
function growth(now: ServerStatus, before: ServerStatus, what: Count): number {
  return Math.max(0, sum(now, what) - sum(before, what));
}

export function sample(now: ServerStatus, at: number, before: ServerStatus, beforeAt: number): Sample {
  const seconds = Math.max(0.001, (at - beforeAt) / 1000);
  return {
    at,
    decodeRate: growth(now, before, "decode_tokens_total") / seconds,
    prefillRate: growth(now, before, "prefill_tokens_total") / seconds,
    running: sum(now, "batch_running"),
    waiting: sum(now, "batch_waiting"),
    kvInUse: sum(now, "kv_blocks_in_use"),
    kvTotal: sum(now, "kv_blocks_total"),
    hitRate: hitRate(growth(now, before, "prompt_tokens_seen_total"), growth(now, before, "prefix_hit_tokens_total")),
  };
}

// The q-quantile of a Prometheus histogram in seconds, by linear interpolation within its bucket; null when it is empty. In the
// last bucket, which has no end, it is the last bound.
export function histogramQuantile(metrics: string, name: string, q: number): number | null {
  const buckets: [number, number][] = [];
  for (const match of metrics.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)$`, "gm")))
    buckets.push([match[1] === "+Inf" ? Infinity : Number(match[1]), Number(match[2])]);
  const total = buckets[buckets.length - 1]?.[1] ?? 0;
  if (total === 0) return null;
  let lower = 0;
  let below = 0;
  for (const [bound, count] of buckets) {
    if (count >= q * total) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (q * total - below)) / Math.max(1, count - below);
    }
    lower = bound;
    below = count;
  }
  return lower;
}

export const readStatus = () => getJson<ServerStatus>("/api/status");
export const readMetrics = async () => (await call("/metrics")).text();
