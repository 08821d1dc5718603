// Markdown inside a line: code, emphasis, links. Text in, a tree of plain data out; nothing here knows of HTML, so nothing a
// model writes can become any. Every search for a closing mark that fails is remembered, so that the time stays linear.

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "break" }
  | { kind: "strong" | "em" | "del"; children: Inline[] }
  | { kind: "link"; href: string; children: Inline[] };

const deepest = 8;
const longestLink = 2000;
const marks: [string, "strong" | "em" | "del"][] = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "del"],
  ["*", "em"],
  ["_", "em"],
];

// The address of a link that may be followed, or nothing: only what cannot run as a script.
export function safeHref(address: string): string | null {
  const trimmed = address.trim();
  return /^(https?:\/\/|mailto:)[^\s\u0000-\u001f]+$/i.test(trimmed) ? trimmed : null;
}

const isWord = (c: string | undefined) => c !== undefined && /[\p{L}\p{N}]/u.test(c);
const isSpace = (c: string | undefined) => c === undefined || /\s/.test(c);

// Where the mark that opened before `from` is closed, or -1.
function closing(text: string, mark: string, from: number): number {
  for (let at = text.indexOf(mark, from); at >= 0; at = text.indexOf(mark, at + mark.length)) {
    if (isSpace(text[at - 1]) || text[at - 1] === "\\" || at === from) continue;
    if (mark.length === 1 && text[at + 1] === mark) {
      at += 1; // a double one inside
      continue;
    }
    if (mark.length === 2 && text[at + 2] === mark[0]) {
      at -= 1; // of three, the last two; the first closes what is inside
      continue;
    }
    if (mark[0] === "_" && isWord(text[at + mark.length])) continue;
    return at;
  }
  return -1;
}

// [label](address) at `at`: label, address and where it ends.
function linkAt(text: string, at: number): { label: string; address: string; end: number } | null {
  let depth = 0;
  const limit = Math.min(text.length, at + longestLink);
  for (let i = at; i < limit; ++i) {
    if (text[i] === "\\") ++i;
    else if (text[i] === "[") ++depth;
    else if (text[i] === "]" && --depth === 0) {
      if (text[i + 1] !== "(") return null;
      const close = text.indexOf(")", i + 2);
      if (close < 0 || close > limit) return null;
      const address = text.slice(i + 2, close).trim().replace(/\s+["'(].*$/s, "").replace(/^<(.*)>$/s, "$1");
      return { label: text.slice(at + 1, i), address, end: close + 1 };
    }
  }
  return null;
}

export function parseInline(text: string, depth = 0): Inline[] {
  const out: Inline[] = [];
  let plain = "";
  const missing = new Set<string>(); // marks that are not closed in the rest of the text
  const flush = () => {
    if (plain) out.push({ kind: "text", text: plain });
    plain = "";
  };
  const add = (node: Inline) => {
    flush();
    out.push(node);
  };
  let i = 0;
  next: while (i < text.length) {
    const c = text[i] as string;
    if (c === "\\" && /[!-/:-@[-`{-~]/.test(text[i + 1] ?? "")) {
      plain += text[i + 1];
      i += 2;
      continue;
    }
    if (c === "\n") {
      if (/( {2,}|\\)$/.test(plain)) {
        plain = plain.replace(/( +|\\)$/, "");
        add({ kind: "break" });
      } else {
        plain += "\n";
      }
      i += 1;
      continue;
    }
    if (c === "`") {
      const fence = (/^`+/.exec(text.slice(i, i + 64)) as RegExpExecArray)[0];
      let end = missing.has(fence) ? -1 : text.indexOf(fence, i + fence.length);
      while (end >= 0 && (text[end + fence.length] === "`" || text[end - 1] === "`"))
        end = text.indexOf(fence, end + 1);
      if (end < 0) {
        missing.add(fence);
        plain += fence;
        i += fence.length;
        continue;
      }
      add({ kind: "code", text: text.slice(i + fence.length, end).replace(/\n/g, " ").replace(/^ (.*[^ ].*) $/, "$1") });
      i = end + fence.length;
      continue;
    }
    if ((c === "[" || (c === "!" && text[i + 1] === "[")) && depth < deepest) {
      const start = c === "!" ? i + 1 : i;
      const link = linkAt(text, start);
      if (link) {
        // An image would be a request to another host: it is shown as a link to it.
        const children: Inline[] = parseInline(link.label || link.address, depth + 1);
        const href = safeHref(link.address);
        flush();
        if (href) out.push({ kind: "link", href, children });
        else out.push(...children);
        i = link.end;
        continue;
      }
    }
    if ((c === "h" || c === "<") && !isWord(text[i - 1])) {
      const match = /^<?(https?:\/\/[^\s<>"'`]+)/.exec(text.slice(i, i + longestLink));
      if (match && (c === "h" || text[i + match[0].length] === ">")) {
        const address = c === "<" ? (match[1] as string) : (match[1] as string).replace(/[.,;:!?*_~)\]]+$/, "");
        const href = safeHref(address);
        if (href) {
          add({ kind: "link", href, children: [{ kind: "text", text: address }] });
          i += address.length + (c === "<" ? 2 : 0);
          continue;
        }
      }
    }
    if ((c === "*" || c === "_" || c === "~") && depth < deepest) {
      for (const [mark, kind] of marks) {
        if (!text.startsWith(mark, i) || missing.has(mark) || isSpace(text[i + mark.length])) continue;
        if (c === "_" && isWord(text[i - 1])) continue;
        const end = closing(text, mark, i + mark.length);
        if (end < 0) {
          missing.add(mark);
          continue;
        }
        add({ kind, children: parseInline(text.slice(i + mark.length, end), depth + 1) });
        i = end + mark.length;
        continue next;
      }
    }
    plain += c;
    i += 1;
  }
  flush();
  return out;
}
