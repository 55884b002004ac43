/** Models side by side, on the traffic that there is. */

import { logs } from "./api.js";
import { chart, grid, steps, valuesAt } from "./chart.js";
import { empty, fill, foreign, h, link } from "./dom.js";
import { choice, exports_, filterBar, filtered, spans, window_ } from "./filters.js";
import { count, ms, nano, percent, ratio, words } from "./format.js";
import { table } from "./table.js";

const USUAL = "24h";
const LINES = 6;
const OF = ["team", "key", "customer", "user"];

export async function models({ root, query, signal, change }) {
  const by = query.get("by") || "target";
  const { from, until, step } = window_(query, USUAL);
  const all = filtered(query, OF);
  for (const [name, value] of [["from", Math.round(from * 1000)], ["until", Math.round(until * 1000)], ["by", by]]) all.set(name, value);
  const whole = new URLSearchParams([...all, ["top", 100]]);
  const place = h("div", { class: "table-place" });
  const charts = h("div");
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Models"), spans(query, USUAL, change), choice("by", "By", [["target", "who answered"], ["model", "what was asked for"], ["provider", "provider"]], query, change), exports_("sums", whole)),
    filterBar(query, change, OF),
    place,
    charts,
  );
  const [sums, lines] = await Promise.all([logs("sums", whole, signal), logs("sums", new URLSearchParams([...all, ["step", step], ["top", LINES + 1]]), signal)]);
  if (sums.sums.length === 0) {
    fill(place, empty("No requests in this span.", "Choose a longer span to compare models."));
    return;
  }
  const names = sums.sums.filter((sum) => !sum.rest && sum.name).sort((a, b) => b.requests - a.requests);
  fill(place, compared(by, sums.sums, query));
  fill(charts, drawn({ x: steps({ from, until, step }), names: names.filter(({ name }) => lines.sums.some((line) => line.name === name)).slice(0, LINES), lines: lines.sums, signal }));
}

const speed = (sum) => (sum.writing_ms > 0 ? (sum.output * 1000) / sum.writing_ms : null);
const each = (sum) => ratio(sum.cost_nano_usd, sum.requests);
/** What never answers is neither quick nor cheap. */
const isCompared = (sum) => sum.name && sum.errors < sum.requests;

function compared(by, sums, query) {
  const name = (sum) => {
    if (sum.rest || !sum.name) return foreign(null, sum.rest ? "all others" : "(nobody was asked)");
    return link(`/logs/requests?${new URLSearchParams({ [by]: sum.name, span: query.get("span") || USUAL })}`, foreign(sum.name));
  };
  // The best of each column is marked, where there is something to choose from.
  const best = (value, lowest = true) => {
    const values = sums.filter(isCompared).map(value).filter((one) => one !== null && one !== undefined && !Number.isNaN(one));
    return values.length > 1 ? (lowest ? Math.min(...values) : Math.max(...values)) : null;
  };
  const column = (title, value, format, lowest) => {
    const top = lowest === undefined ? null : best(value, lowest);
    return { title, number: true, sort: value, cell: (sum) => (top !== null && isCompared(sum) && value(sum) === top ? h("span", { class: "best", title: "the best" }, format(value(sum))) : format(value(sum))) };
  };
  return table(
    "Models side by side",
    [
      { title: by === "provider" ? "Provider" : by === "model" ? "Model" : "Target", cell: name, sort: (sum) => sum.name ?? "" },
      column("Requests", (sum) => sum.requests, count),
      column("p50", (sum) => sum.latency_ms?.p50 ?? null, ms, true),
      column("p95", (sum) => sum.latency_ms?.p95 ?? null, ms, true),
      column("First event", (sum) => sum.first_event_ms?.p50 ?? null, ms, true),
      column("Tokens/s", speed, (value) => (value === null ? "–" : count(Math.round(value))), false),
      column("Cost each", each, nano, true),
      column("Failed", (sum) => ratio(sum.failed, sum.requests), percent, true),
      column("From cache", (sum) => ratio(sum.cached, sum.input), percent, false),
      { title: "Stopped because", class: "reasons", cell: (sum) => shares(sum.finish_reasons) },
      { title: "Errors", class: "reasons", cell: (sum) => shares(sum.error_kinds, sum.requests) },
    ],
    sums,
    { sorted: 1 },
  );
}

/** How many there were of each, the most first. */
function shares(counts, of) {
  const entries = Object.entries(counts ?? {}).sort(([, a], [, b]) => b - a);
  const all = of ?? entries.reduce((sum, [, number]) => sum + number, 0);
  if (entries.length === 0) return h("span", { class: "none" }, "–");
  return entries.slice(0, 4).map(([name, number]) => h("span", { class: "reason", title: `${count(number)} requests` }, h("bdi", {}, words(name)), ` ${percent(number / all, 0)}`));
}

function drawn({ x, names, lines, signal }) {
  const one = (title, value, format) =>
    chart({ title, x, format, signal, sync: "models", series: names.map((name) => ({ name: name.name, values: valuesAt(x, lines.filter((line) => !line.rest && line.name === name.name), value, null) })) });
  return grid(
    one("Latency, p95", (sum) => sum.latency_ms?.p95 ?? null, ms),
    one("Time to first event, p50", (sum) => sum.first_event_ms?.p50 ?? null, ms),
    one("Tokens per second", speed, (value) => count(Math.round(value))),
    one("Cost per request", each, nano),
  );
}
