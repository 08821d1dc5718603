// What the page's tests share: servers, a headless Chromium, pages that write down every request they make.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.LATHE_NODE_MODULES}/package.json`);
const { chromium } = require("playwright-core");

export const patience = 60_000; // milliseconds, for machines that do much else

export class Server {
  constructor(child, info) {
    this.child = child;
    this.url = info.url;
  }

  static async start(...args) {
    const child = spawn(process.env.LATHE, ["serve", "--port", "0", "--json", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: child.stdout })) return new Server(child, JSON.parse(line));
    throw new Error("the server did not start");
  }

  async status() {
    return (await fetch(`${this.url}/api/status`)).json();
  }

  // Ends it; the exit status.
  stop() {
    const ended = new Promise((resolve) => this.child.on("exit", resolve));
    this.child.kill("SIGTERM");
    return ended;
  }
}

export const launch = () =>
  chromium.launch({
    executablePath: process.env.LATHE_CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });

// A page of a fresh profile. `seen.outside`: requests to other origins; `seen.errors`: what its console complained about.
export async function open(browser, server, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const seen = { outside: [], errors: [] };
  page.on("request", (request) => {
    if (!request.url().startsWith(`${server.url}/`) && !/^(data|blob):/.test(request.url())) seen.outside.push(request.url());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") seen.errors.push(message.text());
  });
  await page.goto(server.url);
  await page.getByRole("combobox", { name: "Model" }).waitFor();
  return { page, context, seen };
}

// Fields added to every chat request of the page: what its settings do not offer, such as an answer without end.
export async function addFields(page, fields) {
  await page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: JSON.stringify({ ...JSON.parse(route.request().postData()), ...fields }) }),
  );
}

export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

export const answers = (page) => page.locator(".turn.assistant");
export const idle = (page) => page.getByRole("button", { name: "Send", exact: true }).waitFor();
