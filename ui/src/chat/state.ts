// The conversations and what may be done with them: send, stop, ask again, edit, choose a branch. One answer at a time is
// written in each conversation; answers go on while another conversation is looked at.
import { streamChat, type ChatMessage } from "../api/chat.ts";
import { getJson } from "../api/client.ts";
import { Store } from "../parts/store.ts";
import { samplingFields } from "./sampling.ts";
import * as storage from "./storage.ts";
import * as tree from "./tree.ts";
import type { Conversation, Turn } from "./tree.ts";

export interface ChatState {
  conversations: Conversation[]; // newest first; the current one may not be among them before its first message
  current: Conversation;
  models: string[]; // "name" and "name:adapter"
  modelsError: string;
  storageError: string;
}

const currentName = "lathe.current";
const showEvery = 40; // milliseconds between two drawings of a growing answer
const saveEvery = 1000;
const shortestDecoding = 0.005; // seconds; below it, a speed says more about the browser than about the model

export const chat = new Store<ChatState>({
  conversations: [],
  current: tree.newConversation(),
  models: [],
  modelsError: "",
  storageError: "",
});

const running = new Map<string, AbortController>(); // by conversation

function storageFailed(error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error);
  chat.update((state) => ({ ...state, storageError: `History is not kept: ${reason}` }));
}

function keep(conversation: Conversation): void {
  storage.save(conversation).catch(storageFailed);
}

function find(id: string): Conversation | undefined {
  const { conversations, current } = chat.get();
  return current.id === id ? current : conversations.find((one) => one.id === id);
}

// Replaces a conversation by a changed one; a conversation without turns is not listed yet.
function put(conversation: Conversation, saved = true): void {
  chat.update((state) => {
    const known = state.conversations.some((one) => one.id === conversation.id);
    const listed = known || Object.keys(conversation.turns).length > 0;
    const others = state.conversations.filter((one) => one.id !== conversation.id);
    const conversations = listed ? [conversation, ...others].sort((a, b) => b.changed - a.changed) : others;
    const current = state.current.id === conversation.id ? conversation : state.current;
    return { ...state, conversations, current };
  });
  if (saved && Object.keys(conversation.turns).length > 0) keep(conversation);
}

export async function loadConversations(): Promise<void> {
  try {
    const loaded = (await storage.loadAll()).sort((a, b) => b.changed - a.changed);
    // An answer that was growing when the page went away is one that was stopped.
    for (const [index, conversation] of loaded.entries()) {
      for (const turn of Object.values(conversation.turns)) {
        if (turn.state === "streaming") loaded[index] = tree.changeTurn(conversation, turn.id, { state: "stopped" });
      }
    }
    const last = loaded.find((one) => one.id === localStorage.getItem(currentName));
    chat.update((state) => ({ ...state, conversations: loaded, current: last ?? state.current }));
  } catch (error) {
    storageFailed(error);
  }
}

export async function loadModels(): Promise<void> {
  try {
    const { data } = await getJson<{ data: { id: string }[] }>("/v1/models");
    chat.update((state) => ({ ...state, models: data.map((model) => model.id), modelsError: "" }));
  } catch (error) {
    chat.update((state) => ({ ...state, modelsError: error instanceof Error ? error.message : String(error) }));
  }
}

export function show(id: string): void {
  const conversation = find(id);
  if (!conversation) return;
  localStorage.setItem(currentName, id);
  chat.update((state) => ({ ...state, current: conversation }));
}

// Keeps model, system prompt and samplers of the one at hand.
export function startNew(): void {
  localStorage.removeItem(currentName);
  chat.update((state) => ({ ...state, current: tree.newConversation(state.current) }));
}

export function removeConversation(id: string): void {
  running.get(id)?.abort();
  chat.update((state) => {
    const conversations = state.conversations.filter((one) => one.id !== id);
    const current = state.current.id === id ? (conversations[0] ?? tree.newConversation(state.current)) : state.current;
    return { ...state, conversations, current };
  });
  storage.remove(id).catch(storageFailed);
}

export function addConversations(list: Conversation[]): void {
  for (const conversation of list) put(conversation);
  if (list[0]) show(list[0].id);
}

// Title, model, system prompt, samplers.
export function changeSettings(change: Partial<Pick<Conversation, "title" | "model" | "system" | "sampling">>): void {
  put({ ...chat.get().current, ...change });
}

// The model a conversation speaks with: its own while it is served, otherwise the first.
export function modelOf(state: ChatState, conversation: Conversation): string {
  return state.models.includes(conversation.model) ? conversation.model : (state.models[0] ?? conversation.model);
}

export function isRunning(conversation: Conversation): boolean {
  return Object.values(conversation.turns).some((turn) => turn.state === "streaming");
}

export function send(text: string): void {
  const { current } = chat.get();
  if (isRunning(current) || text.trim() === "") return;
  const last = tree.path(current).at(-1);
  const turn = tree.newTurn(last?.id ?? "", "user", text);
  put(tree.addTurn(current, turn));
  localStorage.setItem(currentName, current.id);
  void answer(current.id, turn.id);
}

export function stop(): void {
  running.get(chat.get().current.id)?.abort();
}

// A further answer to what the turn answered.
export function regenerate(turn: Turn): void {
  const { current } = chat.get();
  if (!isRunning(current)) void answer(current.id, turn.role === "assistant" ? turn.parent : turn.id);
}

// The changed turn stands beside the old one; one of the user's is answered.
export function edit(turn: Turn, text: string): void {
  const { current } = chat.get();
  if (isRunning(current) || text.trim() === "") return;
  const changed = { ...tree.newTurn(turn.parent, turn.role, text), model: turn.model };
  put(tree.addTurn(current, changed));
  if (turn.role === "user") void answer(current.id, changed.id);
}

export function stepBranch(turn: Turn, step: number): void {
  put(tree.stepBranch(chat.get().current, turn, step));
}

function messagesFor(conversation: Conversation, last: string): ChatMessage[] {
  const messages: ChatMessage[] = conversation.system ? [{ role: "system", content: conversation.system }] : [];
  for (const turn of tree.pathTo(conversation, last)) messages.push({ role: turn.role, content: turn.text });
  return messages;
}

// Asks the model for what follows the turn `parent`.
async function answer(conversationId: string, parent: string): Promise<void> {
  const conversation = find(conversationId);
  if (!conversation) return;
  const model = modelOf(chat.get(), conversation);
  const turn = { ...tree.newTurn(parent, "assistant"), model };
  put(tree.addTurn(conversation, turn));
  const abort = new AbortController();
  running.set(conversationId, abort);

  const begin = performance.now();
  let text = "";
  let reasoning = "";
  let pieces = 0;
  let first = 0;
  let latest = 0;
  let shown = 0;
  let saved = begin;
  const change = (changes: Partial<Turn>, saving: boolean) => {
    const now = find(conversationId);
    if (now) put(tree.changeTurn(now, turn.id, { text, reasoning, ...changes }), saving);
  };
  const figures = (usage: { promptTokens: number; cachedTokens: number; completionTokens: number } | null) => {
    const tokens = usage?.completionTokens ?? pieces;
    const decoding = (latest - first) / 1000;
    return {
      promptTokens: usage?.promptTokens ?? 0,
      cachedTokens: usage?.cachedTokens ?? 0,
      completionTokens: tokens,
      counted: usage !== null,
      firstTokenSeconds: (first - begin) / 1000,
      tokensPerSecond: tokens > 1 && decoding > shortestDecoding ? (tokens - 1) / decoding : null,
    };
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const draw = () => {
    timer = undefined;
    shown = performance.now();
    const saving = shown - saved > saveEvery;
    if (saving) saved = shown;
    change({ figures: figures(null) }, saving);
  };
  const piece = () => {
    latest = performance.now();
    if (pieces++ === 0) first = latest;
    timer ??= setTimeout(draw, Math.max(0, shown + showEvery - latest));
  };
  const end = (changes: Partial<Turn>) => {
    clearTimeout(timer);
    running.delete(conversationId);
    change(changes, true);
  };
  try {
    const request = { model, messages: messagesFor(conversation, parent), ...samplingFields(conversation.sampling) };
    const outcome = await streamChat(request, abort.signal, {
      onText: (more) => ((text += more), piece()),
      onReasoning: (more) => ((reasoning += more), piece()),
    });
    end({ state: "done", finish: outcome.finish, figures: pieces > 0 ? figures(outcome.usage) : null });
  } catch (error) {
    const partial = pieces > 0 ? figures(null) : null;
    if (abort.signal.aborted) end({ state: "stopped", figures: partial });
    else end({ state: "failed", error: error instanceof Error ? error.message : String(error), figures: partial });
  }
}
