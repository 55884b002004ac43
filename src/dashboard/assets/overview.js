/** How all goes: figures, and charts over time. */

import { isAbort, logs } from "./api.js";
import { chart, grid, steps, valuesAt } from "./chart.js";
import { empty, failed, fill, foreign, h, link } from "./dom.js";
import { choice, exports_, filterBar, filtered, OF_SUMS, spans, window_ } from "./filters.js";
import { count, ms, nano, percent, ratio } from "./format.js";
import { table } from "./table.js";

const USUAL = "1h";
const SPLITS = [["", "nothing"], ["team", "team"], ["key", "key"], ["model", "model"], ["provider", "provider"]];
/** How many names have a line of their own. */
const LINES = 7;

export async function overview({ root, query, signal, change }) {
  const figures = h("div", { class: "figures" });
  const charts = h("div", { class: "charts-place" });
  const split = h("div");
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Overview"), spans(query, USUAL, change), choice("by", "Split by", SPLITS, query, change), exports_("sums", asked(query).all)),
    filterBar(query, change, OF_SUMS),
    figures,
    charts,
    split,
  );
  fill(figures, tiles({}));
  const refresh = async (first) => {
    try {
      await draw({ query, signal, change, figures, charts, split });
    } catch (error) {
      if (first && !isAbort(error)) fill(charts, failed(error, () => refresh(true)));
    }
  };
  await refresh(true);
  const { live, step } = window_(query, USUAL);
  if (live) {
    // Nothing is drawn anew under somebody's pointer or keyboard.
    const isUsed = () => document.hidden || charts.querySelector(".plot:hover, :focus-visible") || split.querySelector(":focus-visible");
    const timer = setInterval(() => !isUsed() && refresh(false), step <= 60 ? 5_000 : 60_000);
    signal.addEventListener("abort", () => clearInterval(timer));
  }
}

/** What the gateway is asked, for the whole span and step by step. */
function asked(query) {
  const { from, until, step } = window_(query, USUAL);
  const base = filtered(query, OF_SUMS);
  base.set("from", Math.round(from * 1000));
  base.set("until", Math.round(until * 1000));
  const all = new URLSearchParams(base);
  const stepped = new URLSearchParams(base);
  stepped.set("step", step);
  if (query.get("by")) {
    all.set("by", query.get("by"));
    for (const params of [all, stepped]) params.set("top", LINES);
  }
  const stepsOf = new URLSearchParams(stepped);
  if (query.get("by")) stepsOf.set("by", query.get("by"));
  return { base, all, stepped, stepsOf };
}

async function draw({ query, signal, change, figures, charts, split }) {
  const { base, all, stepped, stepsOf } = asked(query);
  const by = query.get("by");
  const [total, whole, lines, names] = await Promise.all([
    logs("sums", base, signal),
    logs("sums", stepped, signal),
    by ? logs("sums", stepsOf, signal) : null,
    by ? logs("sums", all, signal) : null,
  ]);
  const sum = total.sums[0] ?? {};
  fill(figures, tiles(sum));
  if (!sum.requests) {
    fill(charts, empty("No requests in this span.", "Send one, or choose a longer span. ", link("/logs/requests", "All requests")));
    fill(split);
    return;
  }
  const window = window_(query, USUAL);
  const x = steps(window);
  const zoom = (from, until) => {
    const next = new URLSearchParams(query);
    next.delete("span");
    next.set("from", Math.round(from * 1000));
    next.set("until", Math.round(until * 1000));
    change(next);
  };
  const groups = by ? grouped(lines.sums, names.sums) : [{ name: null, sums: whole.sums }];
  // The old charts go when the new ones are there, so that nothing jumps.
  draw.shown?.abort();
  draw.shown = new AbortController();
  signal.addEventListener("abort", () => draw.shown.abort());
  fill(charts, drawn({ x, groups, by, zoom, signal: draw.shown.signal, step: window.step }));
  fill(split, by && names.sums.length > 0 ? bySplit(by, names.sums, query) : null);
}

/** Sums of one name each, in the order of the whole span. */
function grouped(lines, names) {
  const key = (sum) => `${sum.rest ? "rest" : "one"} ${sum.name}`;
  const sums = Map.groupBy ? Map.groupBy(lines, key) : group(lines, key);
  const known = new Set(names.map(key));
  const most = [...names].sort((a, b) => Number(a.rest ?? false) - Number(b.rest ?? false) || b.cost_nano_usd - a.cost_nano_usd || b.requests - a.requests);
  const ordered = [...most, ...lines.filter((line) => !known.has(key(line)) && known.add(key(line)))];
  return ordered.slice(0, LINES + 1).map((sum) => ({ name: named(sum), rest: sum.rest, sums: sums.get(key(sum)) ?? [] }));
}

function group(values, key) {
  const groups = new Map();
  for (const value of values) groups.set(key(value), [...(groups.get(key(value)) ?? []), value]);
  return groups;
}

function named(sum) {
  return sum.rest ? "all others" : (sum.name ?? "(none)");
}

function drawn({ x, groups, by, zoom, signal, step }) {
  const each = (value, missing) => groups.map(({ name, rest, sums }) => ({ name, rest, values: valuesAt(x, sums, value, missing) }));
  const one = (title, name, value, missing, format) =>
    chart({ title, x, format, signal, zoom, sync: "overview", series: each(value, missing).map((line) => ({ ...line, name: line.name ?? name })) });
  const quantiles = (title, field) => {
    if (by) return one(`${title}, p95`, "p95", (sum) => sum[field]?.p95 ?? null, null, ms);
    const series = ["p50", "p95", "p99"].map((name) => ({ name, values: valuesAt(x, groups[0].sums, (sum) => sum[field]?.[name] ?? null, null) }));
    return chart({ title, x, format: ms, signal, zoom, sync: "overview", series });
  };
  const per = { 60: "minute", 3600: "hour", 86400: "day", 604800: "week" }[step] ?? (step > 3_600 ? `${step / 3_600} hours` : `${step / 60} minutes`);
  return grid(
    one(`Requests per ${per}`, "requests", (sum) => sum.requests, 0, count),
    one(`Spend per ${per}`, "spend", (sum) => sum.cost_nano_usd / 1e9, 0, (value) => nano(value * 1e9)),
    quantiles("Latency", "latency_ms"),
    quantiles("Time to first event", "first_event_ms"),
    one("Failed", "share", (sum) => ratio(sum.failed, sum.requests), null, percent),
    one("Refused", "share", (sum) => ratio(sum.errors - sum.failed, sum.requests), null, percent),
    one(`Tokens per ${per}`, "tokens", (sum) => sum.input + sum.output, 0, count),
    one("Cache hits", "share of input", (sum) => ratio(sum.cached, sum.input), null, percent),
    quantiles("Time in the gateway", "overhead_ms"),
  );
}

/** What doesn't work, and apart from it what was refused because of the request or a limit of its caller. */
function failures(sum) {
  const refused = sum.errors - sum.failed;
  const parts = [sum.failed > 0 && h("span", { class: "bad" }, `${count(sum.failed)} requests`), refused > 0 && `${count(refused)} refused`].filter(Boolean);
  return parts.length > 1 ? [parts[0], " · ", parts[1]] : (parts[0] ?? null);
}

/** The figures of the whole span. */
function tiles(sum) {
  const tile = (title, value, more) => h("div", { class: "figure" }, h("dt", {}, title), h("dd", {}, value, h("small", {}, more ?? " ")));
  const first = sum.first_event_ms;
  const over = sum.overhead_ms;
  return h(
    "dl",
    {},
    tile("Requests", count(sum.requests ?? 0), sum.attempts > sum.requests ? `${count(sum.attempts)} attempts` : null),
    tile("Tokens", count((sum.input ?? 0) + (sum.output ?? 0)), `${count(sum.input ?? 0)} in · ${count(sum.output ?? 0)} out`),
    tile("Spend", nano(sum.cost_nano_usd ?? 0), sum.requests ? `${nano(sum.cost_nano_usd / sum.requests)} each` : null),
    tile("Failed", percent(ratio(sum.failed, sum.requests)), failures(sum)),
    tile("Latency", ms(sum.latency_ms?.p50), sum.latency_ms && `p95 ${ms(sum.latency_ms.p95)} · p99 ${ms(sum.latency_ms.p99)}`),
    tile("First event", ms(first?.p50), first && `p95 ${ms(first.p95)} · p99 ${ms(first.p99)}`),
    tile("Cache hits", percent(ratio(sum.cached, sum.input)), "of input tokens"),
    tile("In the gateway", ms(over?.p50), over && `p95 ${ms(over.p95)} · p99 ${ms(over.p99)}`),
  );
}

function bySplit(by, sums, query) {
  const to = (sum) => {
    if (sum.rest || !sum.name) return foreign(null, named(sum));
    const next = filtered(query, OF_SUMS);
    next.set(by, sum.name);
    next.set("span", query.get("span") || USUAL);
    return link(`/logs/requests?${next}`, foreign(sum.name));
  };
  return table(
    `By ${by}`,
    [
      { title: by.charAt(0).toUpperCase() + by.slice(1), cell: to, sort: (sum) => sum.name ?? "" },
      { title: "Requests", number: true, cell: (sum) => count(sum.requests), sort: (sum) => sum.requests },
      { title: "Tokens", number: true, cell: (sum) => count(sum.input + sum.output), sort: (sum) => sum.input + sum.output },
      { title: "Spend", number: true, cell: (sum) => nano(sum.cost_nano_usd), sort: (sum) => sum.cost_nano_usd },
      { title: "Failed", number: true, cell: (sum) => percent(ratio(sum.failed, sum.requests)), sort: (sum) => ratio(sum.failed, sum.requests) },
      { title: "Refused", number: true, cell: (sum) => percent(ratio(sum.errors - sum.failed, sum.requests)), sort: (sum) => ratio(sum.errors - sum.failed, sum.requests) },
      { title: "p50", number: true, cell: (sum) => ms(sum.latency_ms?.p50), sort: (sum) => sum.latency_ms?.p50 },
      { title: "p95", number: true, cell: (sum) => ms(sum.latency_ms?.p95), sort: (sum) => sum.latency_ms?.p95 },
      { title: "First event p50", number: true, cell: (sum) => ms(sum.first_event_ms?.p50), sort: (sum) => sum.first_event_ms?.p50 },
    ],
    sums,
    { sorted: 1 },
  );
}
