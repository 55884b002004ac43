// The proxy as a process, with a fake provider behind it.

import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ADMIN = "the-key-of-the-administrators";
const ROOT = resolve(import.meta.dirname, "../..");
const BINARY = process.env.BARTIZAN_PROXY ?? join(ROOT, "target/release/examples/proxy");

export const KEYS = { search: "vk-search-4b1d0c9e8f7a", billing: "vk-billing-4b1d0c9e8f7a", narrow: "vk-narrow-4b1d0c9e8f7a" };

const CONFIG = (provider) => `
admin: { key: ${ADMIN} }
store: memory
log: { level: warn, format: json, records: { sqlite: logs.db } }
providers:
  acme: { kind: openai, api_key: sk-upstream-secret-01, base_url: "${provider}/v1", limits: { requests: 5000/day } }
  spare: { kind: openai, api_key: sk-upstream-secret-02, base_url: "${provider}/v1" }
defaults:
  retry: { attempts: 1 }
  breaker: { failures: 3, pause: 30s..1m }
models:
  chat: { targets: [ { use: acme/fast } ] }
  careful: { targets: [ { use: acme/fail-503 }, { use: spare/fast } ] }
prices:
  "*/fast": { input: 3, output: 15 }
  "*/big": { input: 15, output: 75 }
  "*/fail-*": { input: 1, output: 1 }
customers: { globex: {} }
teams:
  research: { customer: globex, budget: { usd: 0.5, per: month } }
  platform: { budget: { usd: 200, per: month } }
keys:
  - { name: search, key: ${KEYS.search}, team: research, log_content: true }
  - { name: billing, key: ${KEYS.billing}, team: platform, log_content: true, budget: { usd: 50, per: month } }
  - { name: narrow, key: ${KEYS.narrow}, allow: [ chat ] }
`;

/** An API like OpenAI's: a model named fail-503 fails, others repeat what they are asked. */
function provider() {
  const server = createServer(async (req, res) => {
    let text = "";
    for await (const chunk of req) text += chunk;
    const asked = JSON.parse(text || "{}");
    const failing = /^fail-(\d+)$/.exec(asked.model ?? "");
    if (failing) {
      res.writeHead(Number(failing[1]), { "content-type": "application/json" });
      res.end(JSON.stringify({ error: { message: "the provider is out of order", type: "server_error" } }));
      return;
    }
    const said = `You said: ${asked.messages.at(-1).content}`;
    const usage = { prompt_tokens: Math.ceil(text.length / 4), completion_tokens: Math.ceil(said.length / 4), total_tokens: 0, prompt_tokens_details: { cached_tokens: 5 } };
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    const base = { id: "chatcmpl-1", created: 1, model: asked.model };
    if (!asked.stream) {
      const message = { role: "assistant", content: asked.tools ? null : said };
      if (asked.tools) message.tool_calls = [{ id: "call_1", type: "function", function: { name: asked.tools[0].function.name, arguments: '{"city":"Paris"}' } }];
      res.writeHead(200, { "content-type": "application/json" });
      res.end(JSON.stringify({ ...base, object: "chat.completion", choices: [{ index: 0, message, finish_reason: asked.tools ? "tool_calls" : "stop" }], usage }));
      return;
    }
    res.writeHead(200, { "content-type": "text/event-stream" });
    const send = (event) => res.write(`data: ${JSON.stringify({ ...base, object: "chat.completion.chunk", ...event })}\n\n`);
    for (const word of said.split(/(?<= )/)) {
      send({ choices: [{ index: 0, delta: { content: word }, finish_reason: null }] });
      await new Promise((done) => setTimeout(done, 30));
    }
    send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    send({ choices: [], usage });
    res.end("data: [DONE]\n\n");
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

export class Gateway {
  static async start(config = CONFIG) {
    const gateway = new Gateway();
    gateway.provider = await provider();
    gateway.directory = mkdtempSync(join(tmpdir(), "bartizan-dashboard-"));
    const file = join(gateway.directory, "gateway.yaml");
    writeFileSync(file, config(`http://127.0.0.1:${gateway.provider.address().port}`));
    await gateway.run(["--config", file]);
    return gateway;
  }

  /** As somebody starts it for the first time. */
  static async withoutConfiguration() {
    const gateway = new Gateway();
    gateway.directory = mkdtempSync(join(tmpdir(), "bartizan-dashboard-"));
    await gateway.run([]);
    return gateway;
  }

  async run(args) {
    const log = openSync(join(this.directory, "log.txt"), "w");
    const env = { PATH: process.env.PATH, HOME: this.directory };
    this.process = spawn(BINARY, ["--listen", "127.0.0.1:0", ...args], { cwd: this.directory, env, stdio: ["ignore", "pipe", log] });
    this.greeting = "";
    this.process.stdout.on("data", (text) => (this.greeting += text));
    const ended = new Promise((done) => this.process.on("exit", done));
    this.ended = ended;
    for (let tries = 0; !this.greeting.includes("GEMINI_API_KEY="); tries += 1) {
      if (this.process.exitCode !== null || tries > 1_000) throw new Error(`the proxy doesn't start: ${this.log()}`);
      await new Promise((done) => setTimeout(done, 10));
    }
    this.url = /listens on (\S+)/.exec(this.greeting)[1];
  }

  log() {
    return readFileSync(join(this.directory, "log.txt"), "utf8");
  }

  /** Asks for a chat, and reads the answer to its end. */
  async chat(key, body, headers = {}) {
    const answer = await fetch(`${this.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${KEYS[key] ?? key}`, ...headers },
      body: JSON.stringify(body),
    });
    await answer.text();
    return { status: answer.status, id: answer.headers.get("x-request-id") };
  }

  /** Asks a little of everything, so that there is something to see. */
  async traffic(number = 12) {
    const user = (content) => [{ role: "user", content }];
    for (let round = 0; round < number; round += 1) {
      await Promise.all([
        this.chat("search", { model: "chat", messages: user(`Find out about topic ${round}`) }, { "x-bartizan-tags": "feature=search" }),
        this.chat("billing", { model: "acme/big", messages: user(`Sum up invoice ${round} ${"line ".repeat(round * 20)}`) }, { "x-bartizan-tags": "feature=invoices", "x-bartizan-user": `customer-${round % 3}` }),
        this.chat("billing", { model: "careful", messages: user("Be careful.") }),
        round % 4 === 0 && this.chat("narrow", { model: "acme/big", messages: user("May I?") }),
      ]);
    }
  }

  async stop() {
    this.process.kill();
    await this.ended;
    this.provider?.closeAllConnections();
    this.provider?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
