/** The keys of clients: made, changed, replaced and disabled. */

import { admin, adminAll } from "./api.js";
import { empty, fill, foreign, h, link, say } from "./dom.js";
import { saves } from "./export.js";
import { count, full, percent, usd } from "./format.js";
import { editKey, makeKey, removeKey, rotateKey } from "./key-forms.js";
import { table } from "./table.js";

export async function keys({ root, query, signal, change }) {
  const place = h("div", { class: "table-place" });
  const search = h("input", { type: "search", placeholder: "Name, team or customer", "aria-label": "Find keys", value: query.get("text") ?? "", dir: "auto" });
  const again = () => load();
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Keys"), search, saves("keys", () => matching(shown, search.value).map((key) => ({ ...key, budgets: budgets.get(key.name) }))), h("button", { type: "button", class: "primary", onclick: () => makeKey(again) }, "New key")),
    place,
  );
  let shown = [];
  let budgets = new Map();
  const draw = () => fill(place, listed(matching(shown, search.value), budgets, again, shown.length));
  const load = async () => {
    const [all, standing] = await Promise.all([adminAll("keys", signal), adminAll("budgets?scope=key", signal)]);
    shown = all;
    budgets = new Map();
    for (const row of standing) budgets.set(row.name, [...(budgets.get(row.name) ?? []), row]);
    draw();
  };
  search.addEventListener("input", () => {
    const next = new URLSearchParams(search.value ? { text: search.value } : {});
    history.replaceState(null, "", `${location.pathname}${String(next) && `?${next}`}`);
    draw();
  });
  await load();
}

function matching(all, text) {
  const wanted = text.trim().toLowerCase();
  return all.filter((key) => [key.name, key.team, key.customer].some((field) => (field ?? "").toLowerCase().includes(wanted)));
}

function listed(rows, budgets, again, all) {
  if (all === 0) return empty("There are no keys yet.", "Make one, and give it to whoever asks this gateway.");
  if (rows.length === 0) return empty("No key fits.", "Look for another name, team or customer.");
  return table(
    "Keys",
    [
      { title: "Name", cell: (key) => [link(`/logs/requests?${new URLSearchParams({ key: key.name })}`, foreign(key.name)), key.prefix && h("code", { class: "sub" }, `${key.prefix}…`)], sort: (key) => key.name },
      { title: "State", cell: state },
      { title: "Team", cell: (key) => [foreign(key.team), key.customer && h("span", { class: "sub" }, foreign(key.customer))], sort: (key) => key.team ?? "" },
      { title: "Budget", class: "key-budget", cell: (key) => (budgets.get(key.name) ?? []).map(budget) },
      { title: "Limits", class: "key-limits", cell: (key) => limits(key.limits) },
      { title: "Expires", cell: (key) => (key.expires ? h("time", { datetime: key.expires }, full(key.expires)) : "–"), sort: (key) => key.expires ?? "" },
      { title: "", class: "actions", cell: (key) => actions(key, again) },
    ],
    rows,
    { rowClass: (key) => (isOff(key) ? "off" : undefined) },
  );
}

function isOff(key) {
  return key.disabled || key.out_of_force || isExpired(key);
}

function isExpired(key) {
  return Boolean(key.expires) && new Date(key.expires) < new Date();
}

function state(key) {
  if (key.out_of_force) return h("span", { class: "badge bad", title: key.out_of_force }, "out of force");
  if (key.disabled) return h("span", { class: "badge bad" }, "disabled");
  if (isExpired(key)) return h("span", { class: "badge bad" }, "expired");
  return h("span", { class: "badge good" }, "in use");
}

/** How much of a budget is used. */
function budget(row) {
  const amount = (value) => (row.measure === "usd" ? usd(Number(value)) : count(Number(value)));
  const part = Number(row.limit) > 0 ? (Number(row.used) + Number(row.held)) / Number(row.limit) : 1;
  const bar = h("span", { class: part >= 1 ? "used bad" : part >= 0.8 ? "used warn" : "used" });
  bar.style.width = `${Math.min(100, 100 * part)}%`;
  const told = `${amount(row.used)} of ${amount(row.limit)} per ${row.per}`;
  return h("span", { class: "small-budget", title: `${told}, ${percent(part, 0)}` }, h("span", {}, told), h("span", { class: "budget-bar" }, bar));
}

function limits(of) {
  const told = Object.entries(of ?? {}).filter(([name]) => ["requests", "tokens", "input_tokens", "output_tokens", "concurrent"].includes(name));
  if (told.length === 0) return "–";
  return told.map(([name, value]) => h("span", { class: "line" }, `${[value].flat().join(", ")} ${name.replaceAll("_", " ")}`));
}

function actions(key, again) {
  if (key.source === "file") return h("span", { class: "quiet-text nowrap", title: "It is changed there only" }, "in the file");
  const button = (title, action, kind) => h("button", { type: "button", class: kind ?? "quiet", "aria-label": `${title} ${key.name}`, onclick: action }, title);
  const turn = async () => {
    await changed(key, { disabled: key.disabled ? null : true });
    say(key.disabled ? `${key.name} is in use again.` : `${key.name} is disabled.`);
    again();
  };
  return h(
    "span",
    { class: "row-actions" },
    button(key.disabled ? "Enable" : "Disable", () => turn().catch((error) => say(error.message))),
    button("Edit", () => editKey(key, again)),
    button("Rotate", () => rotateKey(key, again)),
    button("Delete", () => removeKey(key, again), "quiet danger"),
  );
}

/** Changes a key, if nobody else has meanwhile. */
export function changed(key, fields) {
  const headers = key.version === undefined ? {} : { "if-match": `"${key.version}"` };
  return admin(`keys/${encodeURIComponent(key.name)}`, { method: "PATCH", body: fields, headers });
}
