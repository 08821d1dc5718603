// POST /v1/chat/completions, streamed.
import { ApiError, call } from "./client.ts";
import { readEvents } from "./events.ts";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatCall {
  model: string;
  messages: ChatMessage[];
  [sampling: string]: unknown;
}

export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
}

export interface ChatEvents {
  onText: (text: string) => void;
  onReasoning: (text: string) => void;
}

export interface ChatOutcome {
  finish: string; // "stop", "length", ...
  usage: Usage | null;
}

interface Chunk {
  error?: { message?: string };
  choices?: { delta?: { content?: string | null; reasoning_content?: string }; finish_reason?: string | null }[];
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    prompt_tokens_details?: { cached_tokens?: number };
  } | null;
}

// Resolves when the answer is complete; rejects with ApiError, or with an AbortError once `signal` says so.
export async function streamChat(request: ChatCall, signal: AbortSignal, events: ChatEvents): Promise<ChatOutcome> {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const response = await call("/v1/chat/completions", { method: "POST", body, signal });
  if (!response.body) throw new ApiError("the answer has no body", response.status);
  const outcome: ChatOutcome = { finish: "", usage: null };
  let complete = false;
  for await (const data of readEvents(response.body)) {
    if (data === "[DONE]") {
      complete = true;
      continue;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new ApiError(chunk.error.message ?? "the answer broke off", 500);
    for (const choice of chunk.choices ?? []) {
      if (choice.delta?.reasoning_content) events.onReasoning(choice.delta.reasoning_content);
      if (choice.delta?.content) events.onText(choice.delta.content);
      if (choice.finish_reason) outcome.finish = choice.finish_reason;
    }
    if (chunk.usage) {
      outcome.usage = {
        promptTokens: chunk.usage.prompt_tokens,
        cachedTokens: chunk.usage.prompt_tokens_details?.cached_tokens ?? 0,
        completionTokens: chunk.usage.completion_tokens,
      };
    }
  }
  if (!complete) throw new ApiError("the connection broke before the answer was complete", 0);
  return outcome;
}
