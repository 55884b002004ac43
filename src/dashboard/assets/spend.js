/** Who spends what, what changed, and what is left of budgets. */

import { adminAll, isAbort, logs } from "./api.js";
import { chart, steps, valuesAt } from "./chart.js";
import { empty, failed, fill, foreign, h, link } from "./dom.js";
import { choice, exports_, spans, window_ } from "./filters.js";
import { count, full, nano, percent, ratio, usd, words } from "./format.js";
import { table } from "./table.js";

const USUAL = "30d";
const BY = [["team", "team"], ["customer", "customer"], ["user", "user"], ["feature", "feature"], ["model", "model"], ["key", "key"], ["provider", "provider"]];
const NAMES = 7;
/** The shortest steps, in seconds. Users are many, and may be counted by the hour only. */
const SHORTEST = { user: 3_600 };
const SHORTEST_OTHERS = 300;

export async function spend({ root, query, signal, change }) {
  const by = query.get("by") || "team";
  const share = Number(query.get("share") || 40);
  const { from, until, step } = window_(query, USUAL, SHORTEST[by] ?? SHORTEST_OTHERS);
  const span = new URLSearchParams({ from: Math.round(from * 1000), until: Math.round(until * 1000), by });
  const drift = new URLSearchParams([...span, ["share", share / 100]]);
  const chartPlace = h("div", { class: "chart-place" });
  const tablePlace = h("div", { class: "table-place" });
  const budgets = h("div");
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Spend"), spans(query, USUAL, change), choice("by", "By", BY, query, change), threshold(share, query, change), exports_("drift", drift)),
    chartPlace,
    tablePlace,
    budgets,
  );
  const stepped = new URLSearchParams([...span, ["step", step], ["top", NAMES]]);
  const [lines, changes] = await Promise.all([logs("sums", stepped, signal), logs("drift", drift, signal)]);
  const x = steps({ from, until, step });
  fill(chartPlace, changes.drift.length > 0 && chart({ title: `Spend by ${by}`, x, format: usd, signal, series: series(x, lines.sums) }));
  fill(tablePlace, changes.drift.length > 0 ? changed(by, changes, query) : empty("Nothing was spent in this span, nor before.", "Requests with a known price appear here as they end."));
  try {
    fill(budgets, bars(await adminAll("budgets", signal)));
  } catch (error) {
    if (!isAbort(error)) fill(budgets, failed(error));
  }
}

function threshold(share, query, change) {
  const input = h("input", { id: "flag-over", type: "number", min: "1", max: "1000", step: "1", value: String(share), onchange: () => {
    const next = new URLSearchParams(query);
    next.set("share", input.value || "40");
    change(next);
  } });
  return h("label", { class: "choice" }, h("span", {}, "Flag over"), input, h("span", {}, "%"));
}

function series(x, sums) {
  const names = new Map();
  for (const sum of sums) {
    const name = sum.rest ? "all others" : (sum.name ?? "(none)");
    names.set(name, [...(names.get(name) ?? []), sum]);
  }
  const cost = (of) => of.reduce((all, sum) => all + sum.cost_nano_usd, 0);
  const ordered = [...names].sort(([, a], [, b]) => Number(a[0].rest ?? false) - Number(b[0].rest ?? false) || cost(b) - cost(a));
  return ordered.map(([name, of]) => ({ name, rest: of[0].rest, values: valuesAt(x, of, (sum) => sum.cost_nano_usd / 1e9, 0) }));
}

const CAUSES = {
  new: "new",
  gone: "no requests any more",
  more_requests: "more requests",
  fewer_requests: "fewer requests",
  longer_prompts: "longer prompts",
  shorter_prompts: "shorter prompts",
  longer_answers: "longer answers",
  shorter_answers: "shorter answers",
  dearer_model: "dearer model",
  cheaper_model: "cheaper model",
  nothing: "–",
};

function changed(by, { drift, others }, query) {
  const field = by === "feature" ? "tag" : by;
  const name = (row) => {
    if (row.name === null) return foreign(null, "(none)");
    const filter = new URLSearchParams({ [field]: by === "feature" ? `feature=${row.name}` : row.name, span: query.get("span") || USUAL });
    return link(`/logs/requests?${filter}`, foreign(row.name));
  };
  const whole = (pick) => drift.reduce((sum, row) => sum + pick(row), 0);
  const now = whole((row) => row.now.cost_nano_usd);
  const before = whole((row) => row.before.cost_nano_usd);
  const flagged = drift.filter((row) => row.flagged).length;
  const each = (side) => ratio(side.cost_nano_usd, side.requests);
  return [
    h("p", { class: "summary" }, h("b", {}, nano(now)), " in this span, ", h("b", {}, nano(before)), " in the one before", before > 0 && [": ", change_(now / before - 1)], ". ", flagged > 0 ? h("span", { class: "bad" }, `${flagged} changed more than the share you set.`) : "Nothing changed more than the share you set."),
    table(
      `Spend by ${by}, against the span before`,
      [
        { title: by.charAt(0).toUpperCase() + by.slice(1), cell: name, sort: (row) => row.name ?? "" },
        { title: "Spend", number: true, cell: (row) => nano(row.now.cost_nano_usd), sort: (row) => row.now.cost_nano_usd },
        { title: "Before", number: true, cell: (row) => nano(row.before.cost_nano_usd), sort: (row) => row.before.cost_nano_usd },
        { title: "Change", number: true, cell: (row) => (row.share === null ? (row.now.cost_nano_usd > 0 ? "new" : "–") : change_(row.share, row.flagged)), sort: (row) => row.share ?? Infinity },
        { title: "Because of", class: "because", cell: (row) => because(row) },
        { title: "Requests", number: true, cell: (row) => both(row, (side) => side.requests, count), sort: (row) => row.now.requests },
        { title: "Tokens each", number: true, cell: (row) => both(row, (side) => ratio(side.input + side.output, side.requests), (value) => count(value === null ? null : Math.round(value))), sort: (row) => ratio(row.now.input + row.now.output, row.now.requests) },
        { title: "Cost each", number: true, cell: (row) => both(row, each, nano), sort: (row) => each(row.now) },
      ],
      drift,
      { sorted: 1, rowClass: (row) => (row.flagged ? "flagged" : undefined) },
    ),
    others > 0 && h("p", { class: "quiet-text" }, `${others} that cost less are left out.`),
  ];
}

function change_(share, flagged = false) {
  const text = `${share > 0 ? "+" : share < 0 ? "−" : ""}${percent(Math.abs(share), 0)}`;
  return h("span", { class: flagged ? "bad" : undefined }, flagged && h("span", { "aria-label": "flagged: " }, "⚑ "), text);
}

/** Now, and what it was before in small. */
function both(row, value, format) {
  const [now, before] = [value(row.now), value(row.before)];
  return [format(now), before !== null && row.before.requests > 0 && h("span", { class: "sub" }, `was ${format(before)}`)];
}

/** The cause in words, and how much each part pulls which way. */
function because(row) {
  const parts = [["requests", row.because_nano_usd.requests], ["length", row.because_nano_usd.length], ["price", row.because_nano_usd.price]];
  const size = Math.max(1, ...parts.map(([, part]) => Math.abs(part)));
  const told = parts.map(([name, part]) => `${name} ${part > 0 ? "+" : ""}${nano(part)}`).join(", ");
  const bars = parts.map(([name, part]) => {
    const bar = h("span", { class: `pull pull-${name} ${part < 0 ? "down" : "up"}` });
    bar.style.width = `${(50 * Math.abs(part)) / size}%`;
    return h("span", { class: "pulls-row" }, bar);
  });
  const isChange = row.now.cost_nano_usd !== row.before.cost_nano_usd && row.before.cost_nano_usd > 0 && row.now.cost_nano_usd > 0;
  return [h("span", {}, CAUSES[row.cause] ?? words(row.cause)), isChange && h("span", { class: "pulls", role: "img", "aria-label": told, title: told }, bars)];
}

/** How much of each budget is used. */
function bars(rows) {
  const budgets = rows.filter((row) => row.limit !== undefined && !row.each);
  if (budgets.length === 0) {
    return h("section", { class: "panel" }, h("h2", {}, "Budgets"), h("p", { class: "quiet-text" }, "Nobody has a budget. Set one for a key on the page ", link("/logs/keys", "Keys"), ", or for a team or a customer in the configuration."));
  }
  const part = (row) => (Number(row.limit) > 0 ? (Number(row.used) + Number(row.held)) / Number(row.limit) : 1);
  budgets.sort((a, b) => part(b) - part(a));
  return h("section", { class: "panel" }, h("h2", {}, "Budgets"), h("ul", { class: "budgets" }, budgets.map((row) => h("li", {}, budgetBar(row, part(row))))));
}

/** @param {Object} row one of `GET /admin/v1/budgets` */
export function budgetBar(row, part) {
  const amount = (value) => (row.measure === "usd" ? usd(Number(value)) : `${count(Number(value))} tokens`);
  const bar = h("span", { class: part >= 1 ? "used bad" : part >= 0.8 ? "used warn" : "used" });
  bar.style.width = `${Math.min(100, part * 100)}%`;
  const told = `${amount(row.used)} of ${amount(row.limit)} per ${row.per}`;
  return [
    h("span", { class: "budget-name" }, h("span", { class: "tag" }, row.scope), " ", foreign(row.name, "the gateway"), row.models && [" ", foreign(row.models)], row.shadow && h("span", { class: "tag" }, "only watched")),
    h("span", { class: "budget-bar", role: "img", "aria-label": told }, bar),
    h("span", { class: "budget-told", title: row.resets ? `begins anew ${full(row.resets)}` : "" }, told, h("b", {}, ` ${percent(part, 0)}`)),
  ];
}
