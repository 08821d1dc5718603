// The programs in GET /api/status: sessions of semantic variables, as graphs of calls, and plain requests, whose calls are their
// choices. Texts are not in it.
import { whole } from "../parts/figures.ts";

export type CallState = "waiting" | "queued" | "running" | "done" | "failed";

export interface ProgramCall {
  node: number;
  name: string; // of its output
  state: CallState;
  goal: "latency" | "throughput";
  group: string | null; // of calls that matter together
  after: number[]; // the calls that produce what it reads; one may appear more than once
  queued: number | null; // seconds since the program began; null: not yet
  begun: number | null;
  ended: number | null;
  prompt_tokens: number; // 0: not known yet
  cached_tokens: number;
  read_tokens: number; // of the prompt by now, the cached ones among them
  generated_tokens: number; // by now
  error?: string;
}

interface Calls {
  model: string;
  created: number; // Unix time
  seconds: number; // since it began
  state: "running" | "idle";
  nodes: ProgramCall[];
}

export interface Session extends Calls {
  object: "semantic_session";
  session_id: string;
}

export interface PlainRequest extends Calls {
  object: "request";
  id: string; // of its answer
  endpoint: string;
}

export type Program = Session | PlainRequest;

// How long a call has run, and how long it waited in the queue before, in seconds; null: not yet.
export function ranFor(call: ProgramCall, program: Program): number | null {
  return call.begun === null ? null : (call.ended ?? program.seconds) - call.begun;
}
export function waitedFor(call: ProgramCall, program: Program): number | null {
  return call.queued === null ? null : (call.begun ?? call.ended ?? program.seconds) - call.queued;
}

// How much of a prompt has been read.
export function promptRead(read: number, of: number): string {
  return read < of ? `${whole(read)} of ${whole(of)}` : whole(of);
}

// A request in one line: the sums over its choices, of times the longest; failed when one has failed, running while one runs.
export interface RequestLine {
  state: string;
  waited: number | null;
  ran: number | null;
  prompt: number;
  cached: number;
  read: number;
  generated: number;
}

export function requestLine(request: PlainRequest): RequestLine {
  const total = (what: "prompt_tokens" | "cached_tokens" | "read_tokens" | "generated_tokens") =>
    request.nodes.reduce((sum, call) => sum + call[what], 0);
  const longest = (time: (call: ProgramCall, program: Program) => number | null) =>
    request.nodes.reduce<number | null>((most, call) => {
      const one = time(call, request);
      return one === null ? most : Math.max(most ?? 0, one);
    }, null);
  const has = (state: CallState) => request.nodes.some((call) => call.state === state);
  const order: CallState[] = ["running", "waiting", "queued", "failed"];
  const state = order.find(has) ?? "done";
  const error = request.nodes.find((call) => call.error)?.error;
  return {
    state: state === "failed" && error ? `failed: ${error}` : state,
    waited: longest(waitedFor),
    ran: longest(ranFor),
    prompt: total("prompt_tokens"),
    cached: total("cached_tokens"),
    read: total("read_tokens"),
    generated: total("generated_tokens"),
  };
}
