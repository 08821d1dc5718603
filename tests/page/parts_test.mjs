// The page's parts that need no browser: Markdown, the stream's format, trees of turns, files, histograms.
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";

globalThis.crypto ??= webcrypto;  // browsers have it, Node from version 19 on

const part = (name) => import(`${process.env.LATHE_PARTS}/${name}.js`);
const { parseMarkdown } = await part("markdown/blocks");
const { parseInline, safeHref } = await part("markdown/inline");
const { EventParser } = await part("api/events");
const { histogramQuantile, sample } = await part("api/status");
const tree = await part("chat/tree");
const { exportJson, importJson } = await part("chat/transfer");
const { layout } = await part("parts/graph");
const { complaint, numberFields, readSampling, samplingFields } = await part("chat/sampling");

// A tree of Markdown in one line: "p(Some strong(bold) text)".
function line(node) {
  if (Array.isArray(node)) return node.map(line).join("");
  switch (node.kind) {
    case "text": return node.text;
    case "break": return "⏎";
    case "code": return `code${node.language ? `:${node.language}` : ""}(${node.text})`;
    case "link": return `link<${node.href}>(${line(node.children)})`;
    case "paragraph": return `p(${line(node.children)})`;
    case "heading": return `h${node.level}(${line(node.children)})`;
    case "quote": return `quote(${line(node.blocks)})`;
    case "rule": return "rule";
    case "list": return `${node.ordered ? `ol${node.start}` : "ul"}[${node.items.map(line).join("|")}]`;
    case "table": return `table[${node.align}](${node.head.map(line).join("|")})${node.rows.map((row) => `(${row.map(line).join("|")})`).join("")}`;
    default: return `${node.kind}(${line(node.children)})`;
  }
}

for (const [text, expected] of [
  ["plain", "plain"],
  ["a **bold** and *slanted* ~~gone~~ `code`", "a strong(bold) and em(slanted) del(gone) code(code)"],
  ["***both***", "strong(em(both))"],
  ["**open", "**open"],
  ["2 * 3 * 4", "2 * 3 * 4"],
  ["snake_case_name and _em_", "snake_case_name and em(em)"],
  ["\\*not\\* `a*b*c`", "*not* code(a*b*c)"],
  ["``a`b``", "code(a`b)"],
  ["`open", "`open"],
  ["[x](https://e.org/a_b) [y](javascript:alert(1))", "link<https://e.org/a_b>(x) y)"],
  ["[t](https://e.org 'title')", "link<https://e.org>(t)"],
  ["![pic](https://e.org/p.png)", "link<https://e.org/p.png>(pic)"],
  ["see https://e.org/x. And <https://e.org/y>", "see link<https://e.org/x>(https://e.org/x). And link<https://e.org/y>(https://e.org/y)"],
  ["<b>tags</b> &amp; entities", "<b>tags</b> &amp; entities"],
  ["one  \ntwo\nthree", "one⏎two\nthree"],
]) {
  test(`inline: ${text}`, () => assert.equal(line(parseInline(text)), expected));
}

for (const [text, expected] of [
  ["# One\n\nTwo\nlines\n## Three ##", "h1(One)p(Two\nlines)h2(Three)"],
  ["#hashtag", "p(#hashtag)"],
  ["```js\nlet a = `b`;\n\n# no heading\n```\nafter", "code:js(let a = `b`;\n\n# no heading)p(after)"],
  ["~~~\n```\n~~~", "code(```)"],
  ["```py\nstill growing", "code:py(still growing)"],
  ["- a\n- b\n  - c\n- d", "ul[p(a)|p(b)ul[p(c)]|p(d)]"],
  ["3. a\n4. b", "ol3[p(a)|p(b)]"],
  ["1. a\n\n   ```\n   x\n   ```\n2. b", "ol1[p(a)code(x)|p(b)]"],
  ["> a\n> > b\n\nc", "quote(p(a)quote(p(b)))p(c)"],
  ["a\n\n---\n\nb", "p(a)rulep(b)"],
  ["| a | b |\n|:--|--:|\n| 1 | 2 | 3 |\n| x \\| y |\n\nend", "table[left,right](a|b)(1|2)(x | y|)p(end)"],
  ["a | b", "p(a | b)"],
  ["<script>alert(1)</script>", "p(<script>alert(1)</script>)"],
  ["", ""],
]) {
  test(`blocks: ${JSON.stringify(text)}`, () => assert.equal(line(parseMarkdown(text)), expected));
}

test("only addresses that cannot run are links", () => {
  for (const bad of ["javascript:x", " JaVaScRiPt:x", "java\nscript:x", "data:text/html,x", "vbscript:x", "file:///x", "//e.org", "x", "http:// x"])
    assert.equal(safeHref(bad), null, bad);
  assert.equal(safeHref(" https://e.org/a?b#c "), "https://e.org/a?b#c");
  assert.equal(safeHref("mailto:a@e.org"), "mailto:a@e.org");
});

test("hostile Markdown costs little", () => {
  const begin = performance.now();
  for (const unit of ["*a ", "**a", "_a_ ", "[", "[a](", "![", "`", "`` ` ", "<http://", "~~", "> ", "- ", "|", "\\", "*_", "a_", "1. "])
    parseMarkdown(unit.repeat(20_000));
  for (const unit of ["> ", "- ", "  - a\n", "| a "]) parseMarkdown(`${unit.repeat(5000)}\n|-|`);
  const seconds = (performance.now() - begin) / 1000;
  assert.ok(seconds < 10, `${seconds} s`);
});

test("every prefix of a text parses", () => {
  const text = "# a\n- *b* `c\n\n```js\nx\n```\n| a | b |\n|---|---|\n| [l](https://e.org) | **x** |\n> 1. q\n";
  for (let length = 0; length <= text.length; ++length) assert.ok(Array.isArray(parseMarkdown(text.slice(0, length))));
});

test("events, however the stream is cut", () => {
  const stream = 'data: {"a":1}\n\n: a comment\ndata: one\r\ndata:two\r\n\r\nevent: x\nid: 3\n\ndata\n\ndata: [DONE]\n\n';
  const expected = ['{"a":1}', "one\ntwo", "", "[DONE]"];
  for (let size = 1; size <= stream.length; ++size) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});

test("branches of a conversation", () => {
  let talk = tree.newConversation();
  const ask = tree.newTurn("", "user", "ask");
  talk = tree.addTurn(talk, ask);
  const [one, two] = ["one", "two"].map((text) => tree.newTurn(ask.id, "assistant", text));
  talk = tree.addTurn(tree.addTurn(talk, one), two);
  const texts = (of) => tree.path(of).map((turn) => turn.text);
  assert.deepEqual(texts(talk), ["ask", "two"]);
  assert.deepEqual(tree.branch(talk, two), { index: 1, count: 2 });
  const back = tree.stepBranch(talk, two, -1);
  assert.deepEqual(texts(back), ["ask", "one"]);
  assert.deepEqual(texts(talk), ["ask", "two"], "the old one is as it was");
  assert.equal(tree.stepBranch(back, one, -1), back, "there is none before the first");
  assert.deepEqual(tree.pathTo(talk, one.id).map((turn) => turn.text), ["ask", "one"]);

  const [copy] = importJson(exportJson([back]));
  assert.deepEqual(texts(copy), ["ask", "one"]);
  assert.deepEqual(texts(tree.stepBranch(copy, tree.path(copy)[1], 1)), ["ask", "two"]);
  assert.notEqual(copy.id, back.id, "an import never overwrites");
});

test("files that hold something else are refused", () => {
  for (const bad of ["", "[]", "{}", '{"format":"lathe-conversations"}', "null"]) assert.throws(() => importJson(bad), Error, bad);
  const file = (turns, more = {}) => JSON.stringify({ format: "lathe-conversations", conversations: [{ turns, ...more }] });
  assert.throws(() => importJson(file({ a: { role: "user", parent: "nobody" } })), /not there/);
  assert.throws(() => importJson(file({ a: { role: "system", parent: "" } })), /neither/);
  // A ring hangs on nothing: it is there, and never shown.
  const [ring] = importJson(file({ a: { role: "user", parent: "b" }, b: { role: "user", parent: "a" } }, { chosen: { a: "b" } }));
  assert.deepEqual(tree.path(ring), []);
  const [odd] = importJson(file({ a: { role: "user", parent: "", text: 7 } }, { title: [], sampling: { numbers: { temperature: 9, top_p: 0.5 }, stop: "x" } }));
  assert.deepEqual([odd.title, odd.sampling, tree.path(odd)[0].text], ["", { numbers: { top_p: 0.5 }, stop: [] }, ""]);
});

test("sampler settings have bounds", () => {
  const field = (name) => numberFields.find((one) => one.name === name);
  for (const [name, text, fine] of [["temperature", "0.7", true], ["temperature", "", true], ["temperature", "2.1", false],
                                    ["temperature", "warm", false], ["top_k", "1.5", false], ["top_k", "40", true], ["seed", "1e999", false]])
    assert.equal(complaint(field(name), text) === "", fine, `${name} ${text}`);
  assert.deepEqual(readSampling(null), { numbers: {}, stop: [] });
  for (const policy of [{ name: "most" }, "infllm", { numbers: {} }, 7]) assert.deepEqual(readSampling({ policy }), { numbers: {}, stop: [] });
  const policy = { name: "infllm", numbers: { window: 512, sinks: 1.5, step: 3, blocks: "4" } };
  const read = readSampling({ policy });
  assert.deepEqual(read.policy, { name: "infllm", numbers: { window: 512 } });
  assert.deepEqual(samplingFields(read), { kv_policy: { name: "infllm", window: 512 } });
  assert.deepEqual(samplingFields({ numbers: {}, stop: [""] }), {});
});

test("rates and quantiles", () => {
  const model = { batch_running: 2, batch_waiting: 1, kv_blocks_in_use: 8, kv_blocks_total: 16, prompt_tokens_seen_total: 100,
                  prefix_hit_tokens_total: 10, prefill_tokens_total: 90, decode_tokens_total: 50 };
  const later = { ...model, prompt_tokens_seen_total: 200, prefix_hit_tokens_total: 60, prefill_tokens_total: 140, decode_tokens_total: 250 };
  const one = sample({ models: [later] }, 3000, { models: [model] }, 1000);
  assert.deepEqual([one.decodeRate, one.prefillRate, one.hitRate, one.running, one.waiting], [100, 25, 0.5, 2, 1]);
  const closed = sample({ models: [] }, 3000, { models: [model] }, 1000);
  assert.deepEqual([closed.decodeRate, closed.hitRate, closed.kvTotal], [0, null, 0]);
  const metrics = 't_bucket{le="0.1"} 5\nt_bucket{le="0.2"} 10\nt_bucket{le="+Inf"} 10\nt_sum 1\nt_count 10\n';
  assert.equal(histogramQuantile(metrics, "t", 0.25), 0.05);
  assert.equal(histogramQuantile(metrics, "t", 0.75), 0.15000000000000002);
  assert.equal(histogramQuantile("", "t", 0.5), null);
  assert.equal(histogramQuantile('t_bucket{le="0.1"} 0\nt_bucket{le="+Inf"} 4\n', "t", 0.5), 0.1);
});

test("graphs are laid out in columns by distance", () => {
  const at = (before) => layout(before).places.map(({ column, row }) => `${column},${row}`).join(" ");
  assert.equal(at([]), "");
  assert.equal(at([[], [0], [1]]), "0,0 1,0 2,0");
  assert.equal(at([[3, 3], [], [], [1, 2]]), "2,0 0,0 0,1 1,0", "predecessors that come later");
  assert.equal(at([[], [], [1], [0]]), "0,0 0,1 1,1 1,0", "as their predecessors stand");
  assert.deepEqual({ ...layout([[], [], [], [0, 1, 2]]), places: 0 }, { places: 0, columns: 2, rows: 3 });
  assert.ok(layout([[1], [0]]).columns <= 2, "a cycle ends");
  assert.equal(at([[7]]), "0,0", "a predecessor that is not there");
});
