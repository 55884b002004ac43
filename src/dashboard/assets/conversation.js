/**
 * What was said, of any dialect, as messages that are shown.
 *
 * @typedef {{kind: "text"|"reasoning"|"call"|"result"|"other", text: string, name?: string}} Part
 * @typedef {{role: string, parts: Part[]}} Message
 */

import { foreign, h } from "./dom.js";
import { ms } from "./format.js";

/** @returns {Message[]} */
export function questionOf(dialect, body) {
  if (Array.isArray(body.contents)) return [...system(body.systemInstruction ?? body.system_instruction), ...body.contents.map(ofGemini)];
  if (Array.isArray(body.messages)) return [...system(body.system), ...body.messages.map(ofChat)];
  if (body.input !== undefined) return [...system(body.instructions), ...ofInput(body.input)];
  if (body.prompt !== undefined) return [message("user", text(body.prompt))];
  return [message("request", { kind: "other", text: pretty(body) })];
}

/**
 * What was answered, and behind it the error by which it broke off.
 * @returns {Message[]}
 */
export function answerOf(dialect, body) {
  const error = body.error ? [message("error", { kind: "other", text: body.error.message ?? pretty(body.error) })] : [];
  const { error: _, ...rest } = body;
  return [...(body.error && Object.keys(rest).every((name) => name === "type" || name === "request_id") ? [] : saidIn(rest)), ...error];
}

/** @returns {Message[]} */
function saidIn(body) {
  if (Array.isArray(body.choices)) {
    return body.choices.map((choice) => (choice.message ? { ...ofChat(choice.message), role: "assistant" } : message("assistant", text(choice.text ?? ""))));
  }
  if (Array.isArray(body.candidates)) return body.candidates.map((candidate) => ofGemini({ role: "assistant", ...candidate.content }));
  if (Array.isArray(body.output)) return [{ role: "assistant", parts: body.output.flatMap(ofItem) }];
  if (Array.isArray(body.content)) return [ofChat({ role: "assistant", content: body.content })];
  return [message("answer", { kind: "other", text: pretty(body) })];
}

function message(role, ...parts) {
  return { role, parts };
}

function system(content) {
  if (!content) return [];
  return [{ role: "system", parts: content.parts ? content.parts.flatMap(ofGeminiPart) : ofContent(content) }];
}

function text(value) {
  return { kind: "text", text: typeof value === "string" ? value : pretty(value) };
}

function pretty(value) {
  return JSON.stringify(value, null, 2) ?? "";
}

/** A message of OpenAI's chat completions or of Anthropic's messages. */
function ofChat(one) {
  const reasoning = one.reasoning_content ?? one.reasoning;
  const parts = [
    ...(typeof reasoning === "string" && reasoning ? [{ kind: "reasoning", text: reasoning }] : []),
    ...(one.role === "tool" ? [{ kind: "result", name: one.tool_call_id, text: plain(one.content) }] : ofContent(one.content)),
    ...(one.refusal ? [text(one.refusal)] : []),
    ...(one.tool_calls ?? []).map((call) => ({ kind: "call", name: call.function?.name ?? call.type, text: call.function?.arguments ?? pretty(call) })),
  ];
  return { role: one.role ?? "message", parts };
}

function ofContent(content) {
  if (content === null || content === undefined || content === "") return [];
  return Array.isArray(content) ? content.map(ofPart) : [text(content)];
}

function ofPart(part) {
  if (typeof part === "string") return text(part);
  switch (part.type) {
    case "text":
    case "input_text":
    case "output_text":
      return text(part.text ?? "");
    case "refusal":
      return text(part.refusal ?? "");
    case "thinking":
      return { kind: "reasoning", text: part.thinking ?? "" };
    case "tool_use":
    case "server_tool_use":
      return { kind: "call", name: part.name, text: pretty(part.input) };
    case "tool_result":
      return { kind: "result", name: part.tool_use_id, text: plain(part.content) };
    default:
      return { kind: "other", name: part.type, text: pretty(part) };
  }
}

/** The text of a result of a tool. */
function plain(content) {
  if (typeof content === "string") return content;
  return Array.isArray(content) ? content.map((part) => part.text ?? pretty(part)).join("\n") : pretty(content);
}

/** The input of OpenAI's responses, or what is to be embedded. */
function ofInput(input) {
  if (typeof input === "string") return [message("user", text(input))];
  if (!Array.isArray(input)) return [message("user", text(input))];
  return input.map((item) => (item.role ? ofChat(item) : { role: item.type?.endsWith("_output") ? "tool" : (item.type ? "assistant" : "user"), parts: ofItem(item) }));
}

/** An item of OpenAI's responses. */
function ofItem(item) {
  switch (item.type) {
    case "message":
      return ofContent(item.content);
    case "reasoning":
      return (item.summary ?? []).map((part) => ({ kind: "reasoning", text: part.text ?? "" }));
    case "function_call":
    case "custom_tool_call":
      return [{ kind: "call", name: item.name, text: item.arguments ?? item.input ?? "" }];
    case "function_call_output":
    case "custom_tool_call_output":
      return [{ kind: "result", name: item.call_id, text: plain(item.output) }];
    default:
      return [typeof item === "string" ? text(item) : { kind: "other", name: item.type, text: pretty(item) }];
  }
}

function ofGemini(content) {
  return { role: content.role === "model" ? "assistant" : (content.role ?? "user"), parts: (content.parts ?? []).flatMap(ofGeminiPart) };
}

function ofGeminiPart(part) {
  if (part.functionCall) return [{ kind: "call", name: part.functionCall.name, text: pretty(part.functionCall.args ?? {}) }];
  if (part.functionResponse) return [{ kind: "result", name: part.functionResponse.name, text: pretty(part.functionResponse.response ?? {}) }];
  if (typeof part.text === "string") return [{ kind: part.thought ? "reasoning" : "text", text: part.text }];
  return [{ kind: "other", name: Object.keys(part)[0], text: pretty(part) }];
}

const TITLES = { reasoning: "Reasoning", call: "Calls", result: "Result of", other: "" };

/**
 * A message as it is shown.
 * @param {Message} one
 * @param {Replay|null} [replay] shows its text as it came
 */
export function shown(one, replay = null) {
  const parts = one.parts.map((part) => {
    const content = h("div", { class: "said-text", dir: "auto" }, part.text);
    if (replay && (part.kind === "text" || part.kind === "reasoning")) replay.add(content, part.text);
    if (part.kind === "text") return content;
    const title = h("p", { class: "part-title" }, TITLES[part.kind], " ", part.name && foreign(part.name));
    return h("div", { class: `part part-${part.kind}` }, title, content);
  });
  const nothing = parts.length === 0 && h("p", { class: "quiet-text" }, "(nothing)");
  return h("article", { class: "message", "data-role": one.role }, h("h3", {}, foreign(one.role)), h("div", {}, parts, nothing));
}

/** Shows an answer as it came: how much of it was there at which time. */
export class Replay {
  /** @param {[number, number][]} pieces milliseconds after the request's arrival, and bytes that were there */
  constructor(pieces, signal) {
    this.pieces = pieces;
    this.texts = [];
    this.end = pieces.at(-1)[0];
    this.time = h("output", { class: "replay-time" }, ms(this.end));
    this.range = h("input", { type: "range", min: "0", max: String(this.end), value: String(this.end), step: "1", "aria-label": "Time since the request arrived", oninput: () => this.seek(Number(this.range.value)) });
    this.button = h("button", { type: "button", onclick: () => this.toggle() }, "▶ Replay");
    this.controls = h("div", { class: "replay" }, this.button, this.range, this.time);
    signal.addEventListener("abort", () => this.stop());
  }

  add(element, text) {
    this.texts.push({ element, text });
  }

  /** Shows what was there at a time: the same share of the text as of the bytes. */
  seek(time) {
    const there = this.pieces.findLast(([at]) => at <= time)?.[1] ?? 0;
    const share = there / Math.max(1, this.pieces.at(-1)[1]);
    const all = this.texts.reduce((sum, { text }) => sum + text.length, 0);
    let left = time >= this.end ? all : Math.round(all * share);
    for (const { element, text } of this.texts) {
      element.textContent = text.slice(0, Math.max(0, left));
      left -= text.length;
    }
    this.time.textContent = ms(time);
    this.range.value = String(time);
  }

  toggle() {
    if (this.frame) return this.stop();
    const from = Number(this.range.value) >= this.end ? 0 : Number(this.range.value);
    const began = performance.now();
    this.button.textContent = "■ Stop";
    for (const { element } of this.texts) element.style.minHeight = `${element.offsetHeight}px`;
    const step = () => {
      const time = Math.min(this.end, from + performance.now() - began);
      this.seek(time);
      if (time >= this.end) this.stop();
      else this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.button.textContent = "▶ Replay";
    for (const { element } of this.texts) element.style.minHeight = "";
  }
}
