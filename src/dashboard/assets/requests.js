/** All requests, newest first, as they come in. */

import { isAbort, logs } from "./api.js";
import { empty, failed, fill, foreign, h, link, say } from "./dom.js";
import { exports_, filterBar, filtered, spans } from "./filters.js";
import { clock, count, full, ms, nano, words } from "./format.js";

const AT_ONCE = 100;
/** How far back live requests may have begun: they are there when they have ended. */
const TAIL = "15m";
/** The most rows that are shown at once. */
const MOST = 2_000;
const COLUMNS = [["Time"], ["Status"], ["Model"], ["Key"], ["Tokens", "number"], ["Cost", "number"], ["First", "number"], ["Took", "number"]];

export async function requests({ root, query, signal, go, change }) {
  const wanted = filtered(query);
  for (const name of ["span", "from", "until"]) if (query.get(name)) wanted.set(name, query.get(name));
  const rows = h("tbody");
  const end = h("div", { class: "list-end" });
  const live = liveButton(query);
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Requests"), spans(query, "any", change), live, exports_("requests", wanted)),
    filterBar(query, change),
    h(
      "div",
      { class: "scroll list" },
      h("table", { class: "requests" }, h("caption", { class: "offscreen" }, "Requests, newest first"), h("thead", {}, h("tr", {}, COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))), rows),
    ),
    end,
  );
  rows.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) go(row.dataset.href);
  });
  const list = new List(rows, end, wanted, signal);
  await list.older();
  live.start(() => list.newer(), signal);
}

/** What is shown of the requests, by their ids. */
class List {
  constructor(rows, end, wanted, signal) {
    Object.assign(this, { rows, end, wanted, signal, known: new Set(), next: null });
  }

  query(more) {
    return new URLSearchParams([...this.wanted, ["limit", AT_ONCE], ...more]);
  }

  /** Shows those before the last one that is shown. */
  async older() {
    try {
      const { lines, next } = await logs("requests", this.query(this.next ? [["before", this.next]] : []), this.signal);
      this.next = next;
      this.rows.append(...lines.filter((line) => this.isNew(line)).map(row));
      this.tellEnd();
    } catch (error) {
      if (!isAbort(error)) fill(this.end, failed(error, () => this.older()));
    }
  }

  /** Shows those that have come since. They stand where they arrived, which may be below others that ended before. */
  async newer() {
    // Without a bound, a filter that nothing fits would look through everything, each second.
    const newest = new URLSearchParams(this.wanted);
    for (const name of ["from", "until"]) newest.delete(name);
    newest.set("span", TAIL);
    newest.set("limit", AT_ONCE);
    const { lines, next } = await logs("requests", newest, this.signal);
    if (this.known.size === 0) this.next = next;
    const fresh = lines.filter((line) => this.isNew(line));
    for (const line of fresh) {
      const made = row(line);
      made.classList.add("fresh");
      const after = [...this.rows.children].find((other) => Number(other.dataset.place) < line.place);
      this.rows.insertBefore(made, after ?? null);
    }
    while (this.rows.childElementCount > MOST) this.rows.lastElementChild.remove();
    if (fresh.length > 0) {
      this.tellEnd();
      tellNew(fresh.length);
    }
  }

  isNew(line) {
    return !this.known.has(line.id) && this.known.add(line.id);
  }

  tellEnd() {
    if (this.rows.childElementCount === 0) {
      const filters = [...this.wanted].length > 0;
      fill(this.end, filters ? empty("No request fits these filters.", "Take one out, or choose a longer span. ", link("/logs/requests", "Show all")) : empty("No requests yet.", "They appear here as soon as somebody sends one to this gateway."));
    } else if (this.next === null || this.rows.childElementCount >= MOST) {
      fill(this.end);
    } else {
      fill(this.end, h("button", { type: "button", onclick: () => this.older() }, "Older requests"));
    }
  }
}

/** Those who can't see rows appear are told at most every five seconds. */
function tellNew(number) {
  tellNew.number = (tellNew.number ?? 0) + number;
  if (tellNew.timer) return;
  tellNew.timer = setTimeout(() => {
    tellNew.region ??= document.body.appendChild(h("div", { class: "offscreen", "aria-live": "polite" }));
    tellNew.region.textContent = `${tellNew.number} new requests`;
    tellNew.timer = tellNew.number = null;
  }, 5_000);
}

/** Switches whether new requests are shown as they come. */
function liveButton(query) {
  const fixed = Boolean(query.get("until"));
  const button = h("button", { type: "button", class: "live", "aria-pressed": String(!fixed), disabled: fixed, onclick: () => toggle() }, h("span", { class: "dot" }), "Live");
  const toggle = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    say(on ? "New requests are shown as they come." : "New requests are not shown.");
  };
  button.start = (refresh, signal) => {
    const again = async () => {
      if (signal.aborted) return;
      if (button.getAttribute("aria-pressed") === "true" && !document.hidden) {
        const error = await refresh().then(() => null, (reason) => reason);
        button.classList.toggle("stuck", error !== null && !isAbort(error));
        button.title = error ? `The gateway doesn't answer: ${error.message}` : "";
      }
      if (!signal.aborted) setTimeout(again, button.classList.contains("stuck") ? 5_000 : 1_000);
    };
    setTimeout(again, 1_000);
  };
  return button;
}

/** How a request came out, in a word or two. */
export function badge({ status, error, end }) {
  const bad = Boolean(error) || (status ?? 0) >= 400;
  const left = !bad && end === "aborted";
  const text = error ? `${status ?? ""} ${words(error)}`.trim() : left ? "client left" : String(status ?? "–");
  return h("span", { class: `badge ${bad ? "bad" : left ? "warn" : "good"}` }, text);
}

function row(line) {
  const href = `/logs/requests/${encodeURIComponent(line.id)}`;
  const target = line.target && line.target !== line.model ? h("span", { class: "sub" }, "→ ", foreign(line.target)) : null;
  const retried = line.attempts > 1 ? h("span", { class: "tag", title: "attempts" }, `${line.attempts}×`) : null;
  const kind = (name, ...children) => h("td", { class: name }, children);
  return h(
    "tr",
    { "data-place": line.place, "data-id": line.id, "data-href": href },
    kind("time", h("a", { href, title: full(line.arrived_ms) }, clock(line.arrived_ms))),
    kind("status", badge(line)),
    kind("model", foreign(line.model), target, retried),
    kind("who", foreign(line.key), line.team && h("span", { class: "sub" }, foreign(line.team))),
    kind("number tokens", `${count(line.input)} → ${count(line.output)}`),
    kind("number cost", line.estimated ? h("span", { title: "estimated" }, "≈ ") : null, nano(line.cost_nano_usd)),
    kind("number first", ms(line.first_event_ms)),
    kind("number took", ms(line.duration_ms)),
  );
}
