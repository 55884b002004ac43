/** One request, with all that is known of it. */

import { logs } from "./api.js";
import { answerOf, questionOf, Replay, shown } from "./conversation.js";
import { curl } from "./curl.js";
import { copy, fill, foreign, h, link } from "./dom.js";
import { count, full, ms, percent, usd, words } from "./format.js";
import { badge } from "./requests.js";
import { table } from "./table.js";

export async function detail({ root, id, signal }) {
  const entry = await logs(`requests/${encodeURIComponent(id)}`, undefined, signal);
  const { record } = entry;
  document.title = `${record.model ?? "Request"} · bartizan`;
  const question = parsed(entry.request);
  const answer = parsed(entry.answer);
  fill(
    root,
    h("p", { class: "back" }, link("/logs/requests", "← Requests")),
    head(record, entry.request, question),
    record.message && h("p", { class: "told bad-line" }, h("strong", {}, words(record.error), ": "), foreign(record.message)),
    h("div", { class: "columns" }, h("div", {}, timeline(record), costs(record)), facts(record)),
    conversation(entry, record, question, answer, signal),
    h("details", { class: "raw" }, h("summary", {}, "The record as JSON"), h("pre", { dir: "ltr" }, JSON.stringify(record, null, 2))),
  );
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

function head(record, request, question) {
  const target = answering(record)?.target;
  const curlButton = h("button", { type: "button", disabled: !request, onclick: () => copy(curl(record, question ?? request, location.origin), "The request as curl") }, "Copy as curl");
  if (!request) curlButton.title = "What was asked is not kept: set log_content for the key";
  return h(
    "div",
    { class: "page-head" },
    h("h1", {}, foreign(record.model, "Request"), target && target !== record.model && h("span", { class: "sub" }, " → ", foreign(target))),
    badge(record),
    h("span", { class: "when" }, full(record.arrived)),
    h("div", { class: "exports" }, curlButton, h("button", { type: "button", onclick: () => copy(location.href, "The link") }, "Copy link")),
  );
}

function answering(record) {
  const attempts = record.attempts.filter((attempt) => attempt.role !== "embedding");
  return attempts.findLast((attempt) => attempt.outcome === "answered") ?? attempts.at(-1);
}

/** The attempts, each at its time. */
function timeline(record) {
  const whole = Math.max(record.duration_ms, ...record.attempts.map((attempt) => attempt.ended_ms ?? 0), 0.001);
  const at = (element, from, until) => {
    element.style.left = `${(100 * from) / whole}%`;
    element.style.width = `${Math.max(0.4, (100 * (until - from)) / whole)}%`;
    return element;
  };
  const rows = record.attempts.map((attempt) => {
    const end = attempt.ended_ms ?? record.duration_ms;
    const good = attempt.outcome === "answered";
    const first = attempt.first_byte_ms ?? end;
    const told = `${ms(attempt.started_ms)} to ${ms(end)}${attempt.first_byte_ms ? `, first byte at ${ms(attempt.first_byte_ms)}` : ""}`;
    return h(
      "li",
      {},
      h("div", { class: "attempt" }, foreign(attempt.target), h("span", { class: `badge ${good ? "good" : "bad"}` }, [attempt.status, good ? null : words(attempt.outcome)].filter(Boolean).join(" ") || "answered"), attempt.role && h("span", { class: "tag" }, words(attempt.role)), attempt.key && h("span", { class: "tag" }, "key ", foreign(String(attempt.key))), h("span", { class: "attempt-more" }, `${count(attempt.tokens.input)} → ${count(attempt.tokens.output)} tokens`, " · ", attempt.cost === null ? "no price" : `${attempt.estimated ? "≈ " : ""}${usd(Number(attempt.cost))}`)),
      h("div", { class: "bar", role: "img", "aria-label": told, title: told }, at(h("span", { class: "wait" }), attempt.started_ms, first), at(h("span", { class: good ? "read" : "read bad" }), first, end)),
    );
  });
  const marks = [["arrived", 0], ["first event", record.first_event_ms], ["end", record.duration_ms]].filter(([, time]) => time !== null && time !== undefined);
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Attempts"),
    rows.length > 0 ? h("ol", { class: "timeline" }, rows) : h("p", { class: "quiet-text" }, "No provider was asked."),
    h("p", { class: "marks" }, marks.map(([name, time]) => h("span", {}, `${name} `, h("b", {}, ms(time))))),
    rows.length > 0 && h("p", { class: "key-line" }, h("span", { class: "swatch wait" }), "waiting for the provider ", h("span", { class: "swatch read" }), "its answer"),
  );
}

const KINDS = [
  ["input", "Input", (tokens) => tokens.input - tokens.cached - tokens.cache_write - (tokens.cache_write_1h ?? 0)],
  ["cached", "Input from the cache", (tokens) => tokens.cached],
  ["cache_write", "Written to the cache", (tokens) => tokens.cache_write + (tokens.cache_write_1h ?? 0)],
  ["output", "Output", (tokens) => tokens.output - tokens.reasoning],
  ["reasoning", "Reasoning", (tokens) => tokens.reasoning],
  ["other", "Other", () => null],
];

/** What the request cost, and for what. */
function costs(record) {
  const { tokens, costs: of = {} } = record;
  const rows = KINDS.map(([kind, title, read]) => ({ title, tokens: read(tokens), cost: of[kind] })).filter((row) => row.tokens > 0 || Number(row.cost ?? 0) > 0);
  const total = { title: "Together", tokens: tokens.input + tokens.output, cost: record.cost, total: true };
  const notes = [
    record.estimated && "A part is an estimate, because a provider didn't say.",
    record.unpriced && "An attempt has no known price and is left out.",
    record.own_key && "The caller pays it, with a provider's key of its own.",
  ].filter(Boolean);
  return h(
    "section",
    { class: "panel" },
    h("h2", {}, "Cost"),
    table(
      "Cost by kind",
      [
        { title: "What for", cell: (row) => row.title },
        { title: "Tokens", number: true, cell: (row) => count(row.tokens) },
        { title: "Cost", number: true, cell: (row) => (row.cost === undefined ? "–" : usd(Number(row.cost))) },
        { title: "Share", number: true, cell: (row) => (row.total || !Number(record.cost) ? "" : percent(Number(row.cost ?? 0) / Number(record.cost), 0)) },
      ],
      [...rows, total],
      { rowClass: (row) => (row.total ? "total" : undefined) },
    ),
    notes.map((note) => h("p", { class: "quiet-text" }, note)),
  );
}

function facts(record) {
  const filtered = (name, value) => value && link(`/logs/requests?${new URLSearchParams({ [name]: value })}`, foreign(value));
  const trace = typeof record.trace === "string" ? record.trace.split("-")[1] ?? record.trace : record.trace?.trace;
  const tags = Object.entries(record.tags ?? {});
  const route = record.route && [record.route.strategy ?? record.route.by ?? null].concat(typeof record.route === "string" ? [record.route] : []).filter(Boolean).map(words).join(", ");
  const all = [
    ["Id", h("code", {}, record.id)],
    ["Key", filtered("key", record.key)],
    ["Team", filtered("team", record.team)],
    ["Customer", filtered("customer", record.customer)],
    ["User", filtered("user", record.user)],
    ["Session", filtered("session", record.session)],
    ["Tags", tags.length > 0 && tags.map(([name, value]) => [link(`/logs/requests?${new URLSearchParams({ tag: `${name}=${value}` })}`, foreign(`${name}=${value}`)), " "])],
    ["Trace", trace && filtered("trace", trace)],
    ["Client", record.client && h("code", {}, record.client)],
    ["Dialect", record.dialect && `${record.dialect}${record.stream ? ", stream" : ""}`],
    ["Route", route],
    ["Rule", record.rule && foreign(record.rule)],
    ["Stopped because", record.finish_reason && foreign(record.finish_reason)],
    ["Tool calls", record.tool_calls ? count(record.tool_calls) : null],
    ["In the gateway", ms(record.overhead_ms)],
    ["First event", ms(record.first_event_ms)],
    ["Took", ms(record.duration_ms)],
    ["Answer", `${count(record.bytes)} bytes`],
    ["Lost in translation", record.lost?.length > 0 && foreign(record.lost.join(", "))],
    ["Failed on purpose", record.faults?.length > 0 && foreign(record.faults.join(", "))],
    ["Would be refused", record.shadowed?.length > 0 && foreign(record.shadowed.join(", "))],
    ["Copy of", record.mirrors && link(`/logs/requests/${record.mirrors}`, record.mirrors)],
  ];
  const known = all.filter(([, value]) => value);
  return h("section", { class: "panel" }, h("h2", {}, "Facts"), h("dl", { class: "facts" }, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function conversation(entry, record, question, answer, signal) {
  if (!entry.request && !entry.answer) {
    const why = record.log_content ? "It may have been deleted by now, or was not sent as JSON." : "The key doesn't allow it: set log_content for the key to keep what its requests and answers say.";
    return h("section", { class: "panel" }, h("h2", {}, "Conversation"), h("p", { class: "quiet-text" }, "What was asked and answered is not kept. ", why));
  }
  const replay = entry.pieces.length > 1 && answer ? new Replay(entry.pieces, signal) : null;
  return h(
    "section",
    { class: "panel conversation" },
    h("div", { class: "panel-head" }, h("h2", {}, "Conversation"), replay?.controls),
    entry.is_cut && h("p", { class: "quiet-text" }, "It was too long to be kept whole: the end is missing."),
    question ? questionOf(record.dialect, question).map((message) => shown(message)) : raw(entry.request),
    answer ? answerOf(record.dialect, answer).map((message) => shown(message, replay)) : raw(entry.answer),
    question && h("details", { class: "raw" }, h("summary", {}, "The request as JSON"), h("pre", { dir: "ltr" }, JSON.stringify(question, null, 2))),
    answer && h("details", { class: "raw" }, h("summary", {}, "The answer as JSON"), h("pre", { dir: "ltr" }, JSON.stringify(answer, null, 2))),
  );
}

function raw(text) {
  return text ? h("pre", { dir: "auto" }, text) : null;
}
