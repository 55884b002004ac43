// Asks with the official SDKs: a line of JSON comes in, what the SDK gave or threw goes out.
//
//     node ask.mjs URL KEY

import readline from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const settings = { apiKey: key, maxRetries: 0, timeout: 15_000 };
const openai = new OpenAI({ baseURL: `${url}/v1`, ...settings });
const anthropic = new Anthropic({ baseURL: url, ...settings });

const clients = {
  chat: (body) => openai.chat.completions.create(body),
  responses: (body) => openai.responses.create(body),
  anthropic: (body) => anthropic.messages.create(body),
};
// The helpers of the SDKs, which put a stream together.
const helpers = {
  chat: (body) => openai.chat.completions.stream(body).finalChatCompletion(),
  responses: (body) => openai.responses.stream(body).finalResponse(),
  anthropic: (body) => anthropic.messages.stream(body).finalMessage(),
};

async function ask({ client, body, stream, helper }) {
  if (helper) return { whole: await helpers[client](body) };
  const { data, response } = await clients[client]({ ...body, stream }).withResponse();
  const headers = Object.fromEntries(response.headers);
  if (!stream) return { whole: data, headers };
  const events = [];
  for await (const event of data) events.push(event);
  return { events, headers };
}

function thrown(error) {
  const kinds = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  const headers = error.headers ? Object.fromEntries(error.headers) : {};
  return { error: { kind: kinds[0], kinds, status: error.status, headers, message: error.message } };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const answer = await ask(JSON.parse(line)).catch(thrown);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
