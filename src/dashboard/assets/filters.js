/** What is shown: the span and the filters, which stand in the address so that each view has a link. */

import { logs } from "./api.js";
import { fill, h } from "./dom.js";
import { now as clock } from "./format.js";

export const SPANS = [
  ["15m", "15 min", 900],
  ["1h", "1 h", 3_600],
  ["6h", "6 h", 21_600],
  ["24h", "24 h", 86_400],
  ["7d", "7 days", 604_800],
  ["30d", "30 days", 2_592_000],
  ["90d", "90 days", 7_776_000],
  ["365d", "1 year", 31_536_000],
];

/** Lengths of steps, in seconds: the first one of which there are few enough is taken. */
const STEPS = [60, 300, 900, 1_800, 3_600, 7_200, 21_600, 86_400, 604_800];
const MOST_STEPS = 120;

/**
 * From when until when a query wants to see, on whole steps.
 * @param {number} [shortest] the shortest step, in seconds
 * @returns {{from: number, until: number, step: number, live: boolean}} in seconds of Unix time
 */
export function window_(query, usual, shortest = 0) {
  const now = clock() / 1000;
  const fixed = query.get("from") && query.get("until");
  const length = fixed
    ? (moment(query.get("until")) - moment(query.get("from"))) / 1000
    : (SPANS.find(([name]) => name === (query.get("span") || usual)) ?? SPANS[1])[2];
  const step = STEPS.find((seconds) => seconds >= shortest && length / seconds <= MOST_STEPS) ?? STEPS.at(-1);
  const end = fixed ? moment(query.get("until")) / 1000 : now;
  const until = Math.ceil(end / step) * step;
  const from = fixed ? Math.floor(moment(query.get("from")) / 1000 / step) * step : until - Math.max(1, Math.round(length / step)) * step;
  return { from, until, step, live: !fixed };
}

function moment(text) {
  return /^\d+$/.test(text) ? Number(text) : Date.parse(text);
}

/** The buttons of spans. */
export function spans(query, usual, change) {
  const shown = query.get("from") ? null : query.get("span") || usual;
  const choose = (span) => {
    const next = new URLSearchParams(query);
    for (const name of ["from", "until"]) next.delete(name);
    next.set("span", span);
    change(next);
  };
  const buttons = SPANS.map(([name, title]) =>
    h("button", { type: "button", id: `span-${name}`, "aria-pressed": String(name === shown), onclick: () => choose(name) }, title),
  );
  const own = query.get("from") && h("button", { type: "button", id: "span-own", "aria-pressed": "true", onclick: () => choose(usual) }, "Own span ✕");
  const row = h("div", { class: "spans", role: "group", "aria-label": "Span" }, buttons, own);
  // On a phone there is no room for all of them.
  requestAnimationFrame(() => {
    const chosen = row.querySelector("[aria-pressed=true]");
    if (chosen) row.scrollLeft = chosen.offsetLeft - row.offsetLeft - (row.clientWidth - chosen.clientWidth) / 2;
  });
  return row;
}

/** A choice of one of several; `options` are pairs of value and title. */
export function choice(name, title, options, query, change) {
  const select = h(
    "select",
    {
      id: `choice-${name}`,
      "aria-label": title,
      onchange: () => {
        const next = new URLSearchParams(query);
        if (select.value) next.set(name, select.value);
        else next.delete(name);
        change(next);
      },
    },
    options.map(([value, text]) => h("option", { value, selected: value === (query.get(name) ?? "") }, text)),
  );
  return h("label", { class: "choice" }, h("span", {}, title), select);
}

const KINDS = ["unauthenticated", "forbidden", "invalid_request", "context_too_long", "content_filtered", "not_found", "no_route",
  "rate_limited", "budget_exhausted", "runaway_loop", "too_expensive", "too_large", "billing", "upstream_auth", "timeout",
  "overloaded", "unreachable", "upstream", "internal"];

/** All that can be filtered by: name, title, and more about its field. */
const FIELDS = [
  ["text", "Text", { placeholder: "id, error, prompt or answer", wide: true }],
  ["team", "Team", { by: "team" }],
  ["key", "Key", { by: "key" }],
  ["model", "Model", { by: "model" }],
  ["provider", "Provider", { by: "provider" }],
  ["target", "Target", { by: "target", placeholder: "provider/model" }],
  ["status", "Status", { options: ["ok", "failed", "refused", "400", "401", "403", "404", "429", "500", "502", "503", "504"] }],
  ["error", "Error", { options: KINDS }],
  ["cost_above", "Cost above", { number: true, placeholder: "dollars" }],
  ["latency_above", "Latency above", { number: true, placeholder: "ms" }],
  ["tag", "Tag", { placeholder: "feature=search" }],
  ["customer", "Customer", { by: "customer" }],
  ["user", "User", {}],
  ["session", "Session", {}],
  ["trace", "Trace", {}],
];

/** The names of the filters that sums can be asked by. */
export const OF_SUMS = ["team", "key", "model", "provider", "target", "customer", "user"];

/** The part of a query that filters. */
export function filtered(query, names = FIELDS.map(([name]) => name)) {
  return new URLSearchParams([...query].filter(([name, value]) => names.includes(name) && value !== ""));
}

/** A form of filters, folded on small screens; those in force are shown with a way to take each out. */
export function filterBar(query, change, names = FIELDS.map(([name]) => name)) {
  const fields = FIELDS.filter(([name]) => names.includes(name));
  const active = fields.filter(([name]) => query.get(name));
  const apply = (form) => {
    const next = new URLSearchParams(query);
    for (const [name] of fields) {
      const value = form.elements[name].value.trim();
      if (value) next.set(name, value);
      else next.delete(name);
    }
    next.delete("before");
    if (String(next) !== String(query)) change(next);
  };
  const form = h(
    "form",
    {
      class: "filter-form",
      onsubmit: (event) => {
        event.preventDefault();
        apply(event.currentTarget);
      },
      // When the field that comes next has the focus, so that it keeps it.
      onchange: () => setTimeout(() => form.isConnected && apply(form)),
    },
    fields.map(([name, title, more]) => field(name, title, more, query.get(name) ?? "")),
    h("button", { class: "offscreen" }, "Filter"),
  );
  const chips = active.map(([name, title], index) => {
    const without = new URLSearchParams(query);
    without.delete(name);
    const label = `Take out the filter ${title}`;
    return h("button", { type: "button", id: `chip-${index}`, class: "chip", "aria-label": label, onclick: () => change(without) }, `${title}: `, h("bdi", {}, query.get(name)), " ✕");
  });
  const open = filterBar.open;
  const details = h("details", { class: "filters", open, ontoggle: () => (filterBar.open = details.open) }, h("summary", { id: "filters" }, active.length ? `Filters (${active.length})` : "Filters"), form);
  return h("div", { class: "filter-bar" }, details, active.length > 0 && h("div", { class: "chips" }, chips));
}

function field(name, title, more, value) {
  const id = `filter-${name}`;
  if (more.options) {
    const options = ["", ...more.options].map((option) => h("option", { value: option, selected: option === value }, option ? option.replaceAll("_", " ") : "any"));
    return h("label", { for: id }, title, h("select", { id, name }, options));
  }
  const list = more.by && h("datalist", { id: `${id}-list` });
  const input = h("input", {
    id,
    name,
    value,
    dir: "auto",
    type: more.number ? "number" : "search",
    min: more.number ? "0" : undefined,
    step: more.number ? "any" : undefined,
    placeholder: more.placeholder,
    autocomplete: "off",
    list: list ? `${id}-list` : undefined,
    onfocus: list ? () => suggest(list, more.by) : undefined,
  });
  return h("label", { for: id, class: more.wide ? "wide" : undefined }, title, input, list);
}

/** Fills a list with names of the last week. */
async function suggest(list, by) {
  if (list.childElementCount > 0) return;
  const answer = await logs("sums", `span=7d&by=${by}&top=100`).catch(() => ({ sums: [] }));
  fill(list, answer.sums.filter((sum) => sum.name).map((sum) => h("option", { value: sum.name })));
}

/** Links to what is shown, as files. */
export function exports_(what, query) {
  const to = (ending) => h("a", { class: "button", href: `/logs/api/${what}.${ending}?${query}`, download: "" }, ending.toUpperCase());
  return h("div", { class: "exports", role: "group", "aria-label": "Export" }, to("csv"), to("json"));
}
