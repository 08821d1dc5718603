// The sampler settings of a conversation, and what of it the model attends to. What is not set is left to the model's own suggestion
// and the server's own policy.

export interface NumberField {
  name: string; // as the API calls it
  label: string;
  min: number;
  max: number;
  step: number;
  whole?: boolean;
  help: string;
  otherwise?: string; // what holds without a value, where it is not the model's suggestion
}

export const numberFields: NumberField[] = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1, help: "0 always takes the likeliest token" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05, help: "least set of tokens with this probability" },
  { name: "top_k", label: "Top k", min: 0, max: 1 << 24, step: 1, whole: true, help: "likeliest tokens only; 0: all" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, help: "share of the likeliest token's probability" },
  { name: "repeat_penalty", label: "Repeat penalty", min: 0.01, max: 100, step: 0.05, help: "1: none" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, help: "for tokens that appeared", otherwise: "0" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, help: "for each appearance", otherwise: "0" },
  { name: "max_completion_tokens", label: "Longest answer", min: 1, max: 1e6, step: 1, whole: true, help: "in tokens", otherwise: "what fits" },
  { name: "seed", label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, whole: true, help: "same seed, same answer", otherwise: "any" },
];

// What a sequence attends to (kv_policy of the API), with the numbers a user would set.
export interface PolicyKind {
  name: string;
  label: string;
  help: string;
  fields: NumberField[];
}

const tokens = (name: string, label: string, min: number, help: string, otherwise: string): NumberField => ({
  name, label, min, max: 1 << 24, step: 1, whole: true, help, otherwise,
});

export const policyKinds: PolicyKind[] = [
  { name: "full", label: "Everything", help: "all of the conversation", fields: [] },
  { name: "sinks", label: "First and last tokens", help: "the first few tokens and the last; what is between is forgotten",
    fields: [tokens("window", "Window", 1, "last tokens", "1024"), tokens("sinks", "First tokens", 0, "kept beside the window", "4")] },
  { name: "infllm", label: "A memory of blocks", help: "InfLLM: first and last tokens, and blocks of the rest that fit the question",
    fields: [tokens("window", "Window", 2, "last tokens; at most the trained context", "2048"),
             tokens("sinks", "First tokens", 0, "a multiple of 32", "128"), tokens("blocks", "Blocks shown", 1, "at a time", "16")] },
];

export interface Policy {
  name: string;
  numbers: Record<string, number>;
}

export interface Sampling {
  numbers: Record<string, number>;
  stop: string[];
  policy?: Policy; // none: the server's own
}

export const noSampling: Sampling = { numbers: {}, stop: [] };

// What is wrong with a text as the value of a field; empty: nothing. An empty text is no value.
export function complaint(field: NumberField, text: string): string {
  if (text.trim() === "") return "";
  const value = Number(text);
  if (!Number.isFinite(value)) return "not a number";
  if (field.whole && !Number.isInteger(value)) return "a whole number, please";
  if (value < field.min || value > field.max) return `from ${field.min} to ${field.max}`;
  return "";
}

// The fields of a request.
export function samplingFields(sampling: Sampling): Record<string, unknown> {
  const stop = sampling.stop.filter((one) => one !== ""); // a line that is still being typed
  const { policy } = sampling;
  return {
    ...sampling.numbers,
    ...(stop.length > 0 ? { stop } : {}),
    ...(policy ? { kv_policy: { name: policy.name, ...policy.numbers } } : {}),
  };
}

function readNumbers(fields: NumberField[], given: Record<string, unknown> | undefined): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (const field of fields) {
    const number = given?.[field.name];
    if (typeof number === "number" && complaint(field, String(number)) === "") numbers[field.name] = number;
  }
  return numbers;
}

// Settings from a file that may hold anything: what is not valid is dropped.
export function readSampling(value: unknown): Sampling {
  const given = (value ?? {}) as { numbers?: Record<string, unknown>; stop?: unknown; policy?: { name?: unknown; numbers?: Record<string, unknown> } };
  const kind = policyKinds.find((one) => one.name === given.policy?.name);
  const stop = Array.isArray(given.stop) ? given.stop.filter((one): one is string => typeof one === "string") : [];
  return {
    numbers: readNumbers(numberFields, given.numbers),
    stop: stop.filter((one) => one !== "").slice(0, 16),
    ...(kind ? { policy: { name: kind.name, numbers: readNumbers(kind.fields, given.policy?.numbers) } } : {}),
  };
}
