// Markdown as models write it: headings, paragraphs, lists, quotes, fenced code, tables, rules. Lines in, plain data out; raw
// HTML is text like any other. A text that is still growing parses at every length: an open fence is code to the end.
import { type Inline, parseInline } from "./inline.ts";

export type Align = "left" | "right" | "center" | null;

export type Block =
  | { kind: "heading"; level: number; children: Inline[] }
  | { kind: "paragraph"; children: Inline[] }
  | { kind: "code"; language: string; text: string }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "list"; ordered: boolean; start: number; tight: boolean; items: Block[][] }
  | { kind: "table"; align: Align[]; head: Inline[][]; rows: Inline[][][] }
  | { kind: "rule" };

const deepest = 12;
const item = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)/;
const rule = /^ {0,3}([-*_])( *\1){2,} *$/;
const heading = /^ {0,3}(#{1,6})(?: +(.*?))?(?: +#+)? *$/;
const fence = /^( {0,3})(`{3,}|~{3,}) *([^`]*)$/;
const delimiter = /^ *\|?( *:?-+:? *\|)* *:?-+:? *\|? *$/;

function cells(line: string): string[] {
  return line
    .trim()
    .replace(/^\||(?<!\\)\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function alignment(cell: string): Align {
  if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
  return cell.startsWith(":") ? "left" : null;
}

// Whether a line ends the paragraph before it.
function interrupts(line: string): boolean {
  return heading.test(line) || fence.test(line) || rule.test(line) || /^ {0,3}>/.test(line) || item.test(line);
}

export function parseMarkdown(text: string): Block[] {
  return parseLines(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0);
}

function parseLines(lines: string[], depth: number): Block[] {
  const blocks: Block[] = [];
  let i = 0;
  const line = (at: number) => lines[at] ?? "";
  while (i < lines.length) {
    if (line(i).trim() === "") {
      i += 1;
      continue;
    }
    let match: RegExpExecArray | null;
    if ((match = fence.exec(line(i)))) {
      const [, indent = "", mark = "", language = ""] = match;
      const closes = new RegExp(`^ {0,3}${mark[0]}{${mark.length},} *$`);
      const code: string[] = [];
      for (i += 1; i < lines.length && !closes.test(line(i)); ++i)
        code.push(line(i).replace(new RegExp(`^ {0,${indent.length}}`), ""));
      i += 1;
      blocks.push({ kind: "code", language: language.trim().split(/\s/)[0] ?? "", text: code.join("\n") });
    } else if ((match = heading.exec(line(i)))) {
      blocks.push({ kind: "heading", level: (match[1] ?? "#").length, children: parseInline(match[2] ?? "") });
      i += 1;
    } else if (rule.test(line(i))) {
      blocks.push({ kind: "rule" });
      i += 1;
    } else if (/^ {0,3}>/.test(line(i)) && depth < deepest) {
      const inner: string[] = [];
      for (; i < lines.length && /^ {0,3}>/.test(line(i)); ++i) inner.push(line(i).replace(/^ {0,3}> ?/, ""));
      blocks.push({ kind: "quote", blocks: parseLines(inner, depth + 1) });
    } else if (item.test(line(i)) && depth < deepest) {
      i = parseList(lines, i, depth, blocks);
    } else if (line(i).includes("|") && delimiter.test(line(i + 1)) && line(i + 1).includes("-") &&
               cells(line(i)).length === cells(line(i + 1)).length) {
      const align = cells(line(i + 1)).map(alignment);
      const head = cells(line(i)).map((cell) => parseInline(cell));
      const rows: Inline[][][] = [];
      for (i += 2; i < lines.length && line(i).includes("|"); ++i) {
        const row = cells(line(i));
        rows.push(align.map((_, column) => parseInline(row[column] ?? "")));
      }
      blocks.push({ kind: "table", align, head, rows });
    } else {
      const paragraph = [line(i).trimStart()];
      for (i += 1; i < lines.length && line(i).trim() !== "" && !interrupts(line(i)); ++i)
        paragraph.push(line(i).trimStart());
      blocks.push({ kind: "paragraph", children: parseInline(paragraph.join("\n").trimEnd()) });
    }
  }
  return blocks;
}

// The list that begins at line `i`, put at the end of `blocks`; where it ends.
function parseList(lines: string[], i: number, depth: number, blocks: Block[]): number {
  const first = item.exec(lines[i] ?? "") as RegExpExecArray;
  const ordered = /\d/.test(first[2] ?? "");
  const items: Block[][] = [];
  let tight = true;
  while (i < lines.length) {
    const match = item.exec(lines[i] ?? "");
    if (!match || rule.test(lines[i] ?? "") || /\d/.test(match[2] ?? "") !== ordered) break;
    const width = match[0].trimEnd().length + Math.min(Math.max((match[3] ?? "").length, 1), 4);
    const inner = [(lines[i] ?? "").slice(match[0].length)];
    let blank = false;
    for (i += 1; i < lines.length; ++i) {
      const line = lines[i] ?? "";
      if (line.trim() === "") {
        blank = true;
        inner.push("");
      } else if (line.search(/\S/) >= Math.min(width, (match[1] ?? "").length + 2)) {
        if (blank && inner.length > 0) tight = tight && item.test(line.trimStart());
        blank = false;
        inner.push(line.slice(Math.min(width, line.search(/\S/))));
      } else if (!blank && !interrupts(line)) {
        inner.push(line.trimStart()); // a paragraph that goes on
      } else {
        break;
      }
    }
    if (blank && item.test(lines[i] ?? "")) tight = false;
    items.push(parseLines(inner, depth + 1));
  }
  blocks.push({ kind: "list", ordered, start: ordered ? parseInt(first[2] ?? "1", 10) : 1, tight, items });
  return i;
}
