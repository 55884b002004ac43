/** How the providers stand. */

import { adminAll, isAbort, logs } from "./api.js";
import { empty, failed, fill, foreign, h, link } from "./dom.js";
import { saves } from "./export.js";
import { ago, clock, count, full, percent, usd, words } from "./format.js";
import { badge } from "./requests.js";
import { table } from "./table.js";

const EVERY = 3_000;
const STATES = {
  answering: ["good", "answering"],
  recovering: ["warn", "recovering"],
  limited: ["warn", "limited"],
  probing: ["warn", "being tried"],
  passed_over: ["bad", "passed over"],
  without_key: ["bad", "without a key"],
};
const WHOLE = { ok: ["good", "All targets answer"], degraded: ["warn", "Some targets are passed over or limited"], failing: ["bad", "No target answers"] };

export async function health({ root, signal }) {
  const status = h("p", { class: "summary", "aria-live": "polite" });
  const [targets, left, errors] = [h("div", { class: "table-place" }), h("div"), h("div")];
  fill(root, h("div", { class: "page-head" }, h("h1", {}, "Health"), saves("health", () => known.targets ?? [])), status, targets, left, errors);
  let told = "";
  let known = {};
  const refresh = async (first) => {
    try {
      const [report, limits, list] = await Promise.all([
        logs("health", undefined, signal),
        first || refresh.turn % 5 === 0 ? adminAll("limits?scope=provider", signal) : null,
        logs("requests", "status=failed&limit=10", signal).catch((error) => (isAbort(error) ? Promise.reject(error) : { lines: [] })),
      ]);
      known = report;
      refresh.turn = (refresh.turn ?? 0) + 1;
      const [kind, text] = WHOLE[report.status] ?? ["warn", words(report.status)];
      // It is only told again when it is something else.
      if (told !== report.status) fill(status, h("span", { class: `badge ${kind}` }, text));
      told = report.status;
      keepFocus(targets, () => fill(targets, standings(report)));
      if (limits) fill(left, remaining(limits));
      fill(errors, lastErrors(list.lines));
    } catch (error) {
      if (first && !isAbort(error)) fill(targets, failed(error, () => refresh(true)));
    }
  };
  await refresh(true);
  const timer = setInterval(() => !document.hidden && refresh(false), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Doesn't take away what somebody has the keyboard in. */
function keepFocus(place, draw) {
  if (!place.contains(document.activeElement) || document.activeElement.tagName === "DIV") draw();
}

function standings(report) {
  if (!report.targets || report.targets.length === 0) return empty("There are no targets yet.", "They are known once a configuration has models, or somebody has asked for provider/model.");
  const order = ["passed_over", "without_key", "probing", "limited", "recovering", "answering"];
  const rows = [...report.targets].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.target.localeCompare(b.target));
  const state = ({ state: name }) => {
    const [kind, text] = STATES[name] ?? ["warn", words(name)];
    return h("span", { class: `badge ${kind}` }, text);
  };
  return table(
    "How each target stands",
    [
      { title: "Target", cell: (row) => link(`/logs/requests?${new URLSearchParams({ target: row.target })}`, foreign(row.target)) },
      { title: "State", cell: state },
      { title: "Since", cell: (row) => (row.since ? h("time", { datetime: row.since, title: full(row.since) }, ago(row.since)) : "–") },
      { title: "Asked again in", number: true, cell: askedIn },
      { title: "Share of its requests", number: true, cell: (row) => (row.share === undefined ? "–" : percent(row.share, 0)) },
      { title: "Last failure", cell: (row) => words(row.last_failure) },
      { title: "Keys", cell: (row) => (row.keys?.length > 0 ? row.keys.map((key) => h("span", { class: `badge ${key.state === "in" ? "good" : "bad"}`, title: key.why ? `${words(key.why)}, out for ${key.out_for_seconds} s` : "in use" }, foreign(key.name))) : "–") },
    ],
    rows,
  );
}

/** One that is limited is asked as usual again then; until then it comes after others. */
function askedIn(row) {
  const left = row.passed_over_for_seconds ?? row.limited_for_seconds;
  return left === undefined ? "–" : `${left} s`;
}

function remaining(limits) {
  const rows = limits.filter((row) => row.limit !== undefined);
  if (rows.length === 0) return null;
  const amount = (row, value) => (value === undefined ? "–" : row.measure === "usd" ? usd(Number(value)) : count(Number(value)));
  return h(
    "section",
    {},
    h("h2", {}, "Limits left"),
    table(
      "Limits of providers",
      [
        { title: "Provider", cell: (row) => foreign(row.name) },
        { title: "Of what", cell: (row) => `${words(row.measure)} per ${row.per}` },
        { title: "Limit", number: true, cell: (row) => amount(row, row.limit) },
        { title: "Used", number: true, cell: (row) => amount(row, row.used) },
        { title: "Left", number: true, cell: (row) => amount(row, row.left) },
      ],
      rows,
    ),
  );
}

function lastErrors(lines) {
  return h(
    "section",
    {},
    h("h2", {}, "Last failed requests"),
    lines.length === 0
      ? h("p", { class: "quiet-text" }, "None.")
      : table(
          "Last failed requests",
          [
            { title: "Time", cell: (line) => link(`/logs/requests/${encodeURIComponent(line.id)}`, clock(line.arrived_ms)) },
            { title: "Status", cell: badge },
            { title: "Model", cell: (line) => foreign(line.model) },
            { title: "Target", cell: (line) => foreign(line.target) },
            { title: "Key", cell: (line) => foreign(line.key) },
          ],
          lines,
        ),
    lines.length > 0 && h("p", {}, link("/logs/requests?status=failed", "All failed requests")),
  );
}
