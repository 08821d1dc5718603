// The programs in GET /api/status: sessions of semantic variables, as graphs of calls. Texts are not in it.

export type CallState = "waiting" | "queued" | "running" | "done" | "failed";

export interface ProgramCall {
  node: number;
  name: string; // of its output
  state: CallState;
  goal: "latency" | "throughput";
  group: string | null; // of calls that matter together
  after: number[]; // the calls that produce what it reads; one may appear more than once
  queued: number | null; // seconds since the session was opened; null: not yet
  begun: number | null;
  ended: number | null;
  prompt_tokens: number;
  cached_tokens: number;
  generated_tokens: number;
  error?: string;
}

export interface Program {
  session_id: string;
  model: string;
  created: number; // Unix time
  seconds: number; // since it was opened
  state: "running" | "idle";
  nodes: ProgramCall[];
}

// How long a call has run, and how long it waited in the queue before, in seconds; null: not yet.
export function ranFor(call: ProgramCall, program: Program): number | null {
  return call.begun === null ? null : (call.ended ?? program.seconds) - call.begun;
}
export function waitedFor(call: ProgramCall, program: Program): number | null {
  return call.queued === null ? null : (call.begun ?? call.ended ?? program.seconds) - call.queued;
}
