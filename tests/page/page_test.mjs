// The page in a real browser against the built program and the model that ships. Environment: LATHE, LATHE_CHROMIUM,
// LATHE_NODE_MODULES (where npm ci ran), LATHE_SCREENSHOTS (a folder for pictures to look at).
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { addFields, answers, idle, launch, open, patience, say, Server } from "./browser.mjs";

const pictures = process.env.LATHE_SCREENSHOTS;
let browser;
let server;
const opened = []; // pages of one test
const started = []; // servers of one test

before(async () => {
  mkdirSync(pictures, { recursive: true });
  [browser, server] = await Promise.all([launch(), Server.start("tiny", "--ctx", "2048")]);
});

after(async () => {
  await browser?.close();
  if (server) assert.equal(await server.stop(), 0);
});

// Whatever a test did: nothing left the origin, nothing was complained about, and the server is at rest.
afterEach(async () => {
  const pages = opened.splice(0);
  for (const { context } of pages) await context.close();
  for (const one of started.splice(0)) assert.equal(await one.stop(), 0);
  for (const { seen } of pages) {
    assert.deepEqual(seen.outside, [], "requests to other origins");
    assert.deepEqual(seen.errors, [], "errors in the console");
  }
  for (let round = 0; ; ++round) {
    const { models } = await server.status();
    if (models.every((one) => one.batch_running === 0 && one.kv_blocks_in_use === one.kv_blocks_cached)) break;
    assert.ok(round < 100, `the server is not at rest: ${JSON.stringify(models)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

async function visit(options, of = server) {
  const one = await open(browser, of, options);
  opened.push(one);
  return one.page;
}

async function start(...args) {
  const one = await Server.start(...args);
  started.push(one);
  return one;
}

// With a model that takes seconds over some hundred tokens, for what must be seen before it is over.
function startSlow() {
  const model = `${pictures}/slow.gguf`;
  if (!existsSync(model)) execFileSync(process.env.LATHE, ["synth", "llama-110m", model, "--vocab", "2048", "--ctx", "2048", "--quiet"]);
  return start(model);
}

const shot = (page, name) => page.screenshot({ path: `${pictures}/${name}.png` });
const sidewaysScroll = (page) => page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);

// An answer of a fixed text, as the server streams it: for what a story model would never write.
async function answerWith(page, text, reasoning = "") {
  const chunk = (delta, finish = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
  const usage = { prompt_tokens: 42, completion_tokens: 64, prompt_tokens_details: { cached_tokens: 32 } };
  const body =
    (reasoning ? chunk({ reasoning_content: reasoning }) : "") +
    chunk({ content: text }) +
    chunk({}, "stop") +
    `data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`;
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body }));
}

test("an answer streams, is counted, and survives a reload", async () => {
  const page = await visit();
  await say(page, "Once upon a time");
  const answer = answers(page).first();
  await answer.locator(".markdown", { hasText: /\w/ }).waitFor();
  await idle(page);
  const text = await answer.locator(".markdown").innerText();
  assert.ok(text.length > 20, text);
  assert.match(await answer.locator(".figures").innerText(), /^(cut at the length limit · )?\d+ tokens · [\d.]+ tokens\/s · .*prompt \d+/);
  await page.reload();
  await answer.waitFor();
  assert.equal(await answer.locator(".markdown").innerText(), text);
  assert.equal(await page.locator(".said").innerText(), "Once upon a time");
  assert.equal(await page.locator(".entry.current").innerText(), "Once upon a time");
});

test("stop ends the answer at the server too, and keeps what was said", async () => {
  const slow = await startSlow();
  const page = await visit({}, slow);
  await addFields(page, { ignore_eos: true, max_completion_tokens: 2000 });
  await say(page, "A long story");
  await answers(page).first().locator(".markdown", { hasText: /\w/ }).waitFor();
  assert.equal((await slow.status()).models[0].batch_running, 1);
  await page.keyboard.press("Escape");
  await idle(page);
  assert.match(await answers(page).first().locator(".figures").innerText(), /^stopped/);
  const text = await answers(page).first().locator(".markdown").innerText();
  assert.ok(text.length > 0);
  await page.reload();
  assert.equal(await answers(page).first().locator(".markdown").innerText(), text);
});

test("asking again and editing make branches", async () => {
  const page = await visit();
  await addFields(page, { max_completion_tokens: 24 });
  await say(page, "Tom had a dog");
  await idle(page);
  const answer = answers(page).first().locator(".markdown");
  const first = await answer.innerText();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await page.getByText("2 of 2").waitFor();
  await idle(page);
  const second = await answer.innerText();
  assert.notEqual(second, first, "two draws of 24 tokens at temperature 1");
  await page.getByRole("button", { name: "Previous branch" }).click();
  assert.equal(await answer.innerText(), first);
  await page.getByRole("button", { name: "Next branch" }).click();
  assert.equal(await answer.innerText(), second);

  await page.locator(".turn.user").hover();
  await page.locator(".turn.user").getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Edit message").fill("Sue had a cat");
  await page.getByLabel("Edit message").press("Enter");
  await page.locator(".said", { hasText: "Sue had a cat" }).waitFor();
  await idle(page);
  await page.locator(".turn.user").getByRole("button", { name: "Previous branch" }).click();
  assert.equal(await page.locator(".said").innerText(), "Tom had a dog");
  assert.equal(await answer.innerText(), second, "the branch below is the one that was chosen");
  await page.reload();
  assert.equal(await page.locator(".said").innerText(), "Tom had a dog");
});

test("system prompt and samplers reach the server; what is not valid is said and not sent", async () => {
  const page = await visit();
  const bodies = [];
  page.on("request", (request) => request.url().endsWith("/completions") && bodies.push(request.postDataJSON()));
  await page.getByRole("button", { name: "Settings of this conversation" }).click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Top p").fill("7");
  await page.getByText("from 0 to 1").waitFor();
  await page.getByLabel("Longest answer").fill("5");
  await page.getByLabel("Stop texts").fill("dragon");
  await page.getByLabel("Attends to").selectOption("A memory of blocks");
  const field = (name) => page.getByRole("textbox", { name });
  await field(/^First tokens/).fill("64");
  await page.getByLabel("Attends to").selectOption("First and last tokens");
  await field(/^Window/).fill("0");
  await page.getByText(/^from 1 to/).waitFor();
  await field(/^Window/).fill("300");
  await shot(page, "settings");
  await page.keyboard.press("Escape");
  await say(page, "Once");
  await idle(page);
  const [body] = bodies;
  assert.deepEqual(body.messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Once" }]);
  assert.deepEqual([body.temperature, body.max_completion_tokens, body.stop, "top_p" in body], [0, 5, ["dragon"], false]);
  assert.deepEqual(body.kv_policy, { name: "sinks", window: 300 });
  assert.match(await answers(page).first().locator(".figures").innerText(), /^cut at the length limit · 5 tokens/);
});

test("hostile text stays text", async () => {
  const page = await visit();
  const hostile = [
    "<script>window.stolen = 1</script>",
    '<img src="http://evil.example/x" onerror="window.stolen = 2">',
    "[click](javascript:window.stolen=3) ![pixel](http://evil.example/pixel.png)",
    "[data](data:text/html,<script>1</script>) <svg onload=window.stolen=4>",
    "```html\n<iframe src=javascript:window.stolen=5></iframe>\n```",
    '| a |\n|---|\n| <b onmouseover="window.stolen=6">x</b> |',
  ].join("\n\n");
  await answerWith(page, hostile, "<img src=x onerror=window.stolen=7>");
  await say(page, '<img src=x onerror="window.stolen=8">');
  await idle(page);
  await page.locator("summary").click();
  await page.locator(".code-block").waitFor();
  assert.equal(await page.evaluate(() => window.stolen), undefined);
  assert.equal(await page.locator(".turn :is(img, script, iframe, svg:not(.icon), b)").count(), 0);
  const links = await page.locator(".turn a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
  assert.deepEqual(links, ["http://evil.example/x", "http://evil.example/pixel.png"], "addresses are followed by hand only");
  assert.ok((await answers(page).first().innerText()).includes("<script>window.stolen = 1</script>"));
});

test("an error stands where it happened and can be tried again", async () => {
  const page = await visit();
  await page.route("**/v1/chat/completions", (route) =>
    route.fulfill({ contentType: "text/event-stream", body: 'data: {"error":{"message":"the cache is full"}}\n\n' }),
  );
  await say(page, "Once");
  await answers(page).first().getByText("the cache is full").waitFor();
  await page.unroute("**/v1/chat/completions");
  await addFields(page, { max_completion_tokens: 4 });
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("2 of 2").waitFor();
  await idle(page);
  assert.match(await answers(page).first().locator(".figures").innerText(), /4 tokens/);
});

test("conversations go out as a file and come back", async () => {
  const page = await visit();
  await addFields(page, { max_completion_tokens: 8 });
  await say(page, "A red ball");
  await idle(page);
  const text = await answers(page).first().locator(".markdown").innerText();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  const file = await download.path();
  assert.equal(JSON.parse(await readFile(file, "utf8")).format, "lathe-conversations");
  await page.getByRole("button", { name: "Delete conversation" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByText("Conversations stay in this browser.").waitFor();
  await page.setInputFiles("input[type=file]", file);
  await page.locator(".said", { hasText: "A red ball" }).waitFor();
  assert.equal(await answers(page).first().locator(".markdown").innerText(), text);
  await page.setInputFiles("input[type=file]", { name: "other.json", mimeType: "application/json", buffer: Buffer.from("{}") });
  await page.getByText("other.json: the file holds no conversations of this page").waitFor();
});

test("the keyboard alone is enough", async () => {
  const page = await visit();
  await addFields(page, { max_completion_tokens: 8 });
  // Keys go where the focus is, and the page moves it after it has drawn.
  const focused = (selector) => page.locator(`${selector}:focus`).waitFor();
  const leave = async (selector) => {
    await focused(selector);
    await page.keyboard.press("Escape");
    await page.locator(`${selector}:focus`).waitFor({ state: "detached" });
  };
  const dialog = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await focused("#message");
  await page.keyboard.type("One day");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("a bird");
  await page.keyboard.press("Enter");
  await idle(page);
  assert.equal(await page.locator(".said").innerText(), "One day\na bird");
  await leave("#message");
  await page.keyboard.press("r");
  await page.getByText("2 of 2").waitFor();
  await idle(page);
  await page.keyboard.press("[");
  await page.getByText("1 of 2").waitFor();
  await page.keyboard.press("e");
  await leave("[aria-label='Edit message']");
  await page.keyboard.press("n");
  await page.getByText("What shall we talk about?").waitFor();
  await leave("#message");
  await page.keyboard.press("k");
  await page.locator(".said").waitFor();
  await page.keyboard.press("?");
  await dialog.waitFor();
  await shot(page, "shortcuts");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.keyboard.press("2");
  await page.getByRole("heading", { name: "Programs" }).waitFor();
  await page.keyboard.press("3");
  await page.getByRole("heading", { name: "Server" }).waitFor();
  await page.keyboard.press("/");
  await leave("#message");
  await page.keyboard.press("m");
  await focused("select");
});

test("light and dark", async () => {
  const page = await visit({ colorScheme: "dark" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.getByRole("button", { name: "Theme: system" }).click();
  const light = await paper();
  assert.notEqual(light, dark);
  assert.equal(light, "rgb(255, 255, 255)");
  await page.reload();
  assert.equal(await paper(), light, "the choice is kept");
  await page.getByRole("button", { name: "Theme: light" }).click();
  assert.equal(await paper(), dark);
});

test("the view of the server follows what the server does", async () => {
  const slow = await startSlow();
  const page = await visit({}, slow);
  await page.getByRole("button", { name: "Server", exact: true }).click();
  await page.getByRole("img", { name: /^Tokens per second: generated/ }).waitFor();
  const request = { messages: [{ role: "user", content: "Once" }], max_tokens: 400, ignore_eos: true };
  const working = Promise.all(
    [1, 2, 3].map(() => fetch(`${slow.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(request) }).then((r) => r.text())),
  );
  await page.locator('[aria-label^="Batch: running"]:not([aria-label*="running 0"])').waitFor();
  await working;
  await page.locator('[aria-label="Batch: running 0, queued 0"]').waitFor();
  const cells = await page.locator("tbody tr td").allInnerTexts();
  assert.equal(cells[0], "slow");
  assert.ok(Number(cells[4].replace(/,/g, "")) >= 1190, `generated: ${cells[4]}`);
  await shot(page, "server");
});

test("engines of a model have a line each", async () => {
  const two = await start("tiny", "--engines", "2", "--ctx", "2048");
  const ask = (prompt) =>
    fetch(`${two.url}/v1/completions`, { method: "POST", body: JSON.stringify({ prompt, max_tokens: 20, temperature: 0 }) });
  for (const word of ["dog ", "cat "]) // strangers take turns, and come back to where they were
    for (let i = 0; i < 2; ++i) await (await ask(word.repeat(200))).text();
  const shown = async (page) => {
    await page.getByRole("button", { name: "Server", exact: true }).click();
    await page.locator("tr.engine").nth(1).waitFor();
    return page.locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText)));
  };
  const rows = await shown(await visit({}, two));
  const { models } = await two.status();
  const whole = (count) => count.toLocaleString("en");
  const line = (one) => [whole(one.decode_tokens_total), whole(one.prefill_tokens_total)];
  assert.deepEqual(rows.map((row) => row[0]), ["tiny", "engine 1", "engine 2"]);
  assert.deepEqual(rows[0].slice(4, 6), line(models[0]));
  models[0].engines.forEach((engine, at) => {
    const [, batch, kv, hits, ...tokens] = rows[at + 1];
    assert.deepEqual([batch, kv], ["0", `${whole(engine.kv_blocks_in_use)} / ${whole(engine.kv_blocks_total)}`]);
    assert.match(hits, /^[1-9]\d %$/, "half of what it read was there");
    assert.deepEqual(tokens.slice(0, 2), line(engine));
  });
  for (const [name, options] of [["desktop", {}], ["phone", { viewport: { width: 360, height: 740 } }]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await visit({ ...options, colorScheme }, two);
      await page.goto(`${two.url}/#server`);
      await page.locator("tr.engine").last().scrollIntoViewIfNeeded();
      assert.equal(await sidewaysScroll(page), false);
      await shot(page, `engines-${name}-${colorScheme}`);
    }
  }
});

test("the view of programs shows the graph as it runs", async () => {
  const slow = await startSlow();
  const page = await visit({}, slow);
  await page.getByRole("button", { name: "Programs" }).click();
  await page.getByText("No program is open.").waitFor();
  const ask = async (method, path, body) => (await fetch(slow.url + path, { method, body: JSON.stringify(body) })).json();
  const { session_id } = await ask("POST", "/v1/session", {});
  const output = (name) => [{ name, is_output: true }];
  const calls = [0, 1, 2].map((i) => ({ template: `Once ${i}{{note${i}}}`, parameters: output(`note${i}`), max_tokens: 400, ignore_eos: true }));
  calls.push({ template: "{{note0}}{{go}}{{note1}}{{note2}}{{end}}", parameters: output("end"), max_tokens: 8, ignore_eos: true });
  calls.push({ template: "{{end}} no{{json}}", parameters: [{ name: "json", is_output: true, transform: "json:a" }], max_tokens: 4 });
  const { variables } = await ask("POST", "/v1/semantic_call", { session_id, calls, want: { end: "latency" } });
  await page.locator(".call.running", { hasText: /running · [1-9]\d* tokens/ }).first().waitFor();
  assert.equal(await page.locator(".graph path").count(), 4);
  await shot(page, "programs-running");
  await page.getByText("3 of 5 calls over").waitFor();
  assert.equal(await page.locator(".call.waiting").count(), 2, "for an input");
  await ask("POST", `/v1/semantic_var/${variables.go}`, { content: " So" });
  await page.locator(".call.failed", { hasText: "json" }).waitFor();
  assert.equal(await page.locator(".call.done").count(), 4);
  assert.match(await page.locator(".call.done", { hasText: "end" }).innerText(), /ms|s · 8 tokens/);
  const cells = await page.locator("tbody tr").nth(0).locator("td").allInnerTexts();
  assert.deepEqual([cells[0], cells[1], cells[7]], ["note0", "done", "400"]);
  await page.getByText("5 of 5 calls over").waitFor();
  for (const [name, options] of [["desktop", {}], ["phone", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }]]) {
    const other = await visit(options, slow);
    await other.goto(`${slow.url}/#programs`);
    await other.locator(".call.failed").waitFor();
    assert.equal(await sidewaysScroll(other), false);
    await shot(other, `programs-${name}`);
  }
  await ask("DELETE", `/v1/session/${session_id}`);
  await page.getByText("No program is open.").waitFor();
});

test("a chat is a request below the programs", async () => {
  const slow = await startSlow();
  const page = await visit({}, slow);
  await addFields(page, { ignore_eos: true, max_completion_tokens: 400 });
  await say(page, "A secret word");
  await answers(page).first().locator(".markdown", { hasText: /\w/ }).waitFor();
  await page.getByRole("button", { name: "Programs" }).click();
  const row = page.getByRole("table", { name: "Requests" }).locator("tbody tr");
  await row.filter({ hasText: "running" }).waitFor();
  const generated = async () => Number(await row.locator("td").nth(6).innerText());
  const early = await generated();
  let later = early;
  for (const end = Date.now() + patience; later === early && Date.now() < end; ) later = await generated();
  assert.ok(early < later && later < 400, `${early} and later ${later}: what it has said so far is told as it grows`);
  assert.match(await row.locator("td").nth(4).innerText(), /^[1-9]\d*$/, "its prompt has been read");
  await shot(page, "requests-running");
  assert.equal(await page.locator(".program").count(), 0);
  await row.filter({ hasText: "done" }).waitFor();
  const cells = await row.locator("td").allInnerTexts();
  assert.deepEqual([cells[0], cells[1], cells[6], cells[7], cells[8]], ["/v1/chat/completions", "done", "400", "1", "slow"]);
  assert.match(cells[3], /ms|s/);
  assert.equal((await page.locator("main").innerText()).includes("secret"), false);
  await page.getByRole("button", { name: "Server", exact: true }).click(); // what views ask for is not among them
  await page.getByRole("button", { name: "Programs" }).click();
  await row.first().waitFor();
  assert.equal(await row.count(), 1);
  await fetch(`${slow.url}/v1/session`, { method: "POST", body: "{}" });
  await fetch(`${slow.url}/v1/completions`, { method: "POST", body: JSON.stringify({ prompt: "a", max_tokens: 3, n: 2 }) });
  await page.locator(".program").waitFor();
  await row.nth(1).waitFor();
  assert.deepEqual((await row.first().locator("td").allInnerTexts()).slice(6, 8), ["6", "2"], "the newest first, its choices summed up");
  for (const [name, options] of [["desktop", {}], ["phone", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }]]) {
    const other = await visit(options, slow);
    await other.goto(`${slow.url}/#programs`);
    await other.getByRole("table", { name: "Requests" }).waitFor();
    assert.equal(await sidewaysScroll(other), false);
    await shot(other, `requests-${name}`);
  }
});

test("a key is asked for, and asked for again when it is wrong", async () => {
  const locked = await start("tiny", "--api-key", "k-right");
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await addFields(page, { max_completion_tokens: 8 });
  await page.goto(locked.url);
  await page.getByRole("textbox", { name: "Key" }).fill("k-wrong");
  await page.keyboard.press("Enter");
  await page.getByText("That key was refused.").waitFor();
  await page.getByRole("textbox", { name: "Key" }).fill("k-right");
  await page.keyboard.press("Enter");
  await page.getByRole("combobox", { name: "Model" }).waitFor();
  await say(page, "Once");
  await answers(page).first().locator(".markdown", { hasText: /\w/ }).waitFor();
  await idle(page);
  await page.reload();
  await page.getByRole("combobox", { name: "Model" }).waitFor();
  assert.deepEqual(await page.evaluate(() => [localStorage, sessionStorage].map((one) => JSON.stringify(one).includes("k-right"))), [false, true]);
  await context.close();
});

const tour = `Here is a small function, and what it does.

1. It keeps the **largest** value.
2. It returns \`-inf\` for an empty list, see [the notes](https://example.org/notes).

\`\`\`python
def largest(values):
    best = float("-inf")
    for value in values:  # one long line to see that the block scrolls sideways and not the page, even on a phone
        best = max(best, value)
    return best
\`\`\`

| input | result | remark |
|---|---:|---|
| \`[3, 1, 2]\` | 3 | as expected |
| \`[]\` | -inf | nothing to compare |

> A quote closes it.`;

for (const [name, options] of [
  ["desktop", {}],
  ["phone", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
]) {
  test(`nothing scrolls sideways: ${name}`, async () => {
    const page = await visit(options);
    // A picture of each, light and dark.
    const shots = async (what) => {
      for (const colorScheme of ["dark", "light"]) {
        await page.emulateMedia({ colorScheme });
        await shot(page, `${name}-${what}-${colorScheme}`);
      }
    };
    await shots("empty");
    await answerWith(page, tour, "The user wants the largest value of a list.");
    await say(page, "How do I find the largest value of a list in Python, without max() of the whole list?");
    await idle(page);
    assert.equal(await sidewaysScroll(page), false);
    await shots("chat");
    if (name === "phone") {
      await page.getByRole("button", { name: "Conversations" }).click();
      await page.locator(".sidebar").getByRole("button", { name: "Server" }).waitFor();
      await page.waitForTimeout(250); // for the list to have slid in
      await shots("list");
    }
    await page.getByRole("button", { name: "Server", exact: true }).click();
    await page.getByRole("img", { name: /^KV blocks/ }).waitFor();
    assert.equal(await sidewaysScroll(page), false);
    await shots("server");
  });
}
