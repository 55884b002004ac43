/** Who changed what, and when. */

import { admin, isAbort } from "./api.js";
import { empty, failed, fill, foreign, h } from "./dom.js";
import { saves } from "./export.js";
import { choice } from "./filters.js";
import { exact, full, words } from "./format.js";
import { table } from "./table.js";

const AT_ONCE = 100;
const KINDS = ["change", "key", "config", "model", "breaker", "login", "audit"];
const SINCE = [["", "ever"], ["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["365d", "a year"]];

export async function audit({ root, query, signal, change }) {
  const place = h("div", { class: "table-place" });
  const end = h("div", { class: "list-end" });
  const shown = [];
  const chain = h("p", { class: "summary quiet-text" });
  const who = h("input", { id: "audit-who", type: "search", dir: "auto", value: query.get("who") ?? "", placeholder: "anybody", onchange: () => {
    const next = new URLSearchParams(query);
    if (who.value.trim()) next.set("who", who.value.trim());
    else next.delete("who");
    change(next);
  } });
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Audit"), h("label", { class: "choice wide-choice" }, h("span", {}, "Who"), who), choice("kind", "Kind", [["", "all"], ...KINDS.map((kind) => [kind, kind])], query, change), choice("since", "Since", SINCE, query, change), saves("audit", () => shown)),
    chain,
    place,
    end,
  );
  const older = async (next) => {
    const asked = new URLSearchParams([...query].filter(([name, value]) => ["who", "kind", "since", "until"].includes(name) && value));
    asked.set("limit", AT_ONCE);
    if (next) asked.set("before", next);
    try {
      const answer = await admin(`audit?${asked}`, { signal });
      shown.push(...answer.data);
      fill(chain, answer.head ? ["Each entry carries the hash of the one before it. The last one is ", h("b", {}, exact(answer.head.number)), ", ", h("code", { title: answer.head.hash }, `${answer.head.hash.slice(0, 16)}…`), "; audit verify checks all of them."] : null);
      fill(place, shown.length > 0 ? listed(shown) : empty("Nothing is entered that fits.", "Changes of keys, budgets and prices, reloads of the configuration and trips of breakers are entered as they happen."));
      fill(end, answer.has_more && h("button", { type: "button", onclick: () => older(answer.next) }, "Older entries"));
    } catch (error) {
      if (!isAbort(error) && error.status !== 401) fill(end, failed(error, () => older(next)));
    }
  };
  await older(null);
}

function listed(entries) {
  return table(
    "Who changed what, newest first",
    [
      { title: "Number", number: true, cell: (entry) => exact(entry.number) },
      { title: "When", class: "nowrap", cell: (entry) => (entry.at ? h("time", { datetime: entry.at }, full(entry.at)) : "–") },
      { title: "Kind", cell: (entry) => (entry.damaged ? h("span", { class: "badge bad" }, "damaged") : h("span", { class: "badge" }, words(entry.kind))) },
      { title: "Who", cell: (entry) => [foreign(entry.who), entry.from && h("span", { class: "sub" }, foreign(entry.from))] },
      { title: "What", cell: (entry) => foreign(entry.what) },
      { title: "Details", cell: (entry) => details(entry.details) },
    ],
    entries,
  );
}

/** What a change was about, field by field where there are few. */
function details(of) {
  const fields = Object.entries(of ?? {});
  if (fields.length === 0) return h("span", { class: "none" }, "–");
  const told = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const line = ([name, value]) => h("span", { class: "detail" }, h("span", { class: "none" }, `${words(name)} `), h("bdi", {}, told(value)));
  const short = fields.every(([, value]) => told(value).length <= 80);
  if (short) return fields.map(line);
  return h("details", {}, h("summary", {}, fields.map(([name]) => words(name)).join(", ")), h("pre", { dir: "ltr" }, JSON.stringify(of, null, 2)));
}
