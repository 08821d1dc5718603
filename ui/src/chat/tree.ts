// A conversation is a tree of turns: editing a message or asking again adds a branch beside the old one, and one child of
// each turn is the chosen one. Plain data; every function returns a changed copy.
import { noSampling, type Sampling } from "./sampling.ts";

export interface Figures {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  counted: boolean; // by the server; otherwise one token for each piece of the stream
  firstTokenSeconds: number;
  tokensPerSecond: number | null; // of decoding; unknown for an answer of one piece
}

export type TurnState = "streaming" | "done" | "stopped" | "failed";

export interface Turn {
  id: string;
  parent: string; // "" for the first turns
  role: "user" | "assistant";
  text: string;
  reasoning: string;
  state: TurnState;
  model: string; // that wrote it
  error: string;
  finish: string;
  figures: Figures | null;
}

export interface Conversation {
  id: string;
  title: string; // "": named after its first message
  changed: number; // milliseconds since 1970
  model: string; // "": the server's first one
  system: string;
  sampling: Sampling;
  turns: Record<string, Turn>;
  children: Record<string, string[]>; // by parent, oldest first
  chosen: Record<string, string>; // by parent
}

export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation(like?: Conversation): Conversation {
  return {
    id: newId(),
    title: "",
    changed: Date.now(),
    model: like?.model ?? "",
    system: like?.system ?? "",
    sampling: like?.sampling ?? noSampling,
    turns: {},
    children: {},
    chosen: {},
  };
}

export function newTurn(parent: string, role: Turn["role"], text = ""): Turn {
  const state = role === "assistant" && text === "" ? "streaming" : "done";
  return { id: newId(), parent, role, text, reasoning: "", state, model: "", error: "", finish: "", figures: null };
}

// The turn becomes the newest child of its parent, and the chosen one.
export function addTurn(conversation: Conversation, turn: Turn): Conversation {
  return {
    ...conversation,
    changed: Date.now(),
    turns: { ...conversation.turns, [turn.id]: turn },
    children: { ...conversation.children, [turn.parent]: [...(conversation.children[turn.parent] ?? []), turn.id] },
    chosen: { ...conversation.chosen, [turn.parent]: turn.id },
  };
}

export function changeTurn(conversation: Conversation, id: string, change: Partial<Turn>): Conversation {
  const turn = conversation.turns[id];
  if (!turn) return conversation;
  return { ...conversation, changed: Date.now(), turns: { ...conversation.turns, [id]: { ...turn, ...change } } };
}

// The chosen turns from the first one down.
export function path(conversation: Conversation): Turn[] {
  const turns: Turn[] = [];
  for (let at = ""; ; ) {
    const turn = conversation.turns[conversation.chosen[at] ?? ""];
    if (!turn) return turns;
    turns.push(turn);
    at = turn.id;
  }
}

// The turns from the first one down to `id`.
export function pathTo(conversation: Conversation, id: string): Turn[] {
  const turns: Turn[] = [];
  for (let turn = conversation.turns[id]; turn; turn = conversation.turns[turn.parent]) turns.unshift(turn);
  return turns;
}

// Which of its siblings a turn is (from 0), and how many there are.
export function branch(conversation: Conversation, turn: Turn): { index: number; count: number } {
  const siblings = conversation.children[turn.parent] ?? [];
  return { index: siblings.indexOf(turn.id), count: siblings.length };
}

// Chooses the sibling `step` places further; unchanged where there is none.
export function stepBranch(conversation: Conversation, turn: Turn, step: number): Conversation {
  const siblings = conversation.children[turn.parent] ?? [];
  const next = siblings[siblings.indexOf(turn.id) + step];
  return next ? { ...conversation, chosen: { ...conversation.chosen, [turn.parent]: next } } : conversation;
}

export function titleOf(conversation: Conversation): string {
  if (conversation.title) return conversation.title;
  const first = path(conversation)[0]?.text.trim().split("\n")[0] ?? "";
  return first.length > 60 ? `${first.slice(0, 59)}…` : first || "New conversation";
}
