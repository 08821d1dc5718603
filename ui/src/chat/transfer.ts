// Conversations as a JSON file, out and in. A file may hold anything: it is read field by field, and what does not make a
// tree is refused with a reason.
import { readSampling } from "./sampling.ts";
import { type Conversation, newConversation, newId, type Turn } from "./tree.ts";

const format = "lathe-conversations";

export function exportJson(conversations: Conversation[]): string {
  return JSON.stringify({ format, version: 1, conversations }, null, 1);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function readTurn(id: string, value: unknown): Turn {
  const given = record(value);
  const role = given["role"];
  if (role !== "user" && role !== "assistant") throw new Error("a turn is neither the user's nor the assistant's");
  const state = given["state"] === "failed" || given["state"] === "stopped" ? given["state"] : "done";
  return {
    id,
    parent: text(given["parent"]),
    role,
    text: text(given["text"]),
    reasoning: text(given["reasoning"]),
    state,
    model: text(given["model"]),
    error: text(given["error"]),
    finish: text(given["finish"]),
    figures: null,
  };
}

// A conversation with its tree built anew from the turns' parents, under identifiers of its own.
export function readConversation(value: unknown): Conversation {
  const given = record(value);
  const conversation: Conversation = {
    ...newConversation(),
    title: text(given["title"]),
    changed: typeof given["changed"] === "number" ? given["changed"] : Date.now(),
    model: text(given["model"]),
    system: text(given["system"]),
    sampling: readSampling(given["sampling"]),
  };
  const names = new Map<string, string>([["", ""]]);
  const turns = Object.entries(record(given["turns"]));
  const order = record(given["children"]);
  for (const [id] of turns) names.set(id, newId());
  const rank = (turn: [string, unknown]) => {
    const siblings = order[text(record(turn[1])["parent"])];
    return Array.isArray(siblings) ? siblings.indexOf(turn[0]) : 0;
  };
  for (const [id, value] of turns.sort((a, b) => rank(a) - rank(b))) {
    const turn = readTurn(names.get(id) ?? "", value);
    const parent = names.get(turn.parent);
    if (parent === undefined) throw new Error("a turn follows one that is not there");
    turn.parent = parent;
    conversation.turns[turn.id] = turn;
    (conversation.children[parent] ??= []).push(turn.id);
  }
  for (const [parent, children] of Object.entries(conversation.children)) {
    const last = children[children.length - 1];
    if (last) conversation.chosen[parent] = last;
  }
  for (const [parent, child] of Object.entries(record(given["chosen"]))) {
    const to = names.get(parent);
    const chosen = names.get(text(child));
    if (to !== undefined && chosen && conversation.turns[chosen]?.parent === to) conversation.chosen[to] = chosen;
  }
  return conversation;
}

export function importJson(file: string): Conversation[] {
  let given: Record<string, unknown>;
  try {
    given = record(JSON.parse(file));
  } catch {
    throw new Error("the file is not JSON");
  }
  const list = given["conversations"];
  if (given["format"] !== format || !Array.isArray(list)) throw new Error("the file holds no conversations of this page");
  return list.map(readConversation);
}
