/** All requests, newest first, as they come in. */

import { isAbort, logs } from "./api.js";
import { empty, failed, fill, foreign, h, link, say } from "./dom.js";
import { exports_, filterBar, filtered, spans } from "./filters.js";
import { clock, count, full, ms, nano, now, words } from "./format.js";

const AT_ONCE = 100;
/** How long after their end live requests may come, in milliseconds: a database may have been away for a while. */
const LATE = 60_000;
/** The least time between two looks for new ones, in milliseconds; where a look takes long, it is so many times as long. */
const PAUSE = 1_000;
const PAUSE_TIMES = 4;
/** The most rows that are shown at once. */
const MOST = 1_000;
/** The most that are marked as new: marks of more are seen by nobody, and cost more than all of the rest. */
const FEW = 20;
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
    if (row?.dataset.href && !event.target.closest("a") && !String(getSelection())) go(row.dataset.href);
  });
  const list = new List(rows, end, wanted, signal);
  await list.older();
  live.start(() => list.newer(), signal);
}

/** What is shown of the requests, by their ids. */
class List {
  constructor(rows, end, wanted, signal) {
    Object.assign(this, { rows, end, wanted, signal, known: new Set(), next: null, looked: now(), told: null });
  }

  query(more) {
    return new URLSearchParams([...this.wanted, ["limit", AT_ONCE], ...more]);
  }

  /** Shows those before the last one that is shown. */
  async older() {
    try {
      const { lines, next } = await logs("requests", this.query(this.next ? [["before", this.next]] : []), this.signal);
      this.next = next;
      const made = lines.filter((line) => this.isNew(line)).map(row);
      this.rows.append(...made);
      const wasThere = this.end.contains(document.activeElement);
      this.tellEnd();
      // Whoever has gone here by keyboard isn't sent back to the top of the page.
      if (wasThere && !this.end.contains(document.activeElement)) (made[0]?.querySelector("a") ?? this.end.querySelector("button"))?.focus();
    } catch (error) {
      if (isAbort(error)) return;
      this.told = null;
      fill(this.end, failed(error, () => this.older()));
    }
  }

  /** Shows those that have come since. They stand where they ended, which may be below others that were kept before. */
  async newer() {
    // Without a bound, a filter that nothing fits would look through everything, each second.
    const newest = new URLSearchParams(this.wanted);
    for (const name of ["span", "until"]) newest.delete(name);
    newest.set("from", Math.round(this.looked - LATE));
    newest.set("limit", AT_ONCE);
    const looked = now();
    const { lines, next } = await logs("requests", newest, this.signal);
    this.looked = looked;
    const wasEmpty = this.known.size === 0;
    if (wasEmpty) this.next ??= next;
    const fresh = lines.filter((line) => this.isNew(line));
    // The newest one that was there before all of these.
    const before = this.rows.firstElementChild;
    for (const line of fresh) {
      const made = row(line);
      if (fresh.length <= FEW) made.classList.add("fresh");
      this.insert(made, line.place);
    }
    if (lines.length === AT_ONCE && !wasEmpty && fresh.length === lines.length) this.insert(gap(before, fresh.at(-1), this.wanted), fresh.at(-1).place - 1);
    while (this.rows.childElementCount > MOST) this.drop(this.rows.lastElementChild);
    if (fresh.length > 0) {
      this.tellEnd();
      tellNew(fresh.length);
    }
  }

  insert(made, place) {
    let after = this.rows.firstElementChild;
    while (after && Number(after.dataset.place) >= place) after = after.nextElementSibling;
    made.dataset.place = place;
    this.rows.insertBefore(made, after);
  }

  drop(row) {
    this.known.delete(row.dataset.id);
    row.remove();
  }

  isNew(line) {
    return !this.known.has(line.id) && this.known.add(line.id);
  }

  tellEnd() {
    const number = this.rows.childElementCount;
    this.rows.closest(".list").hidden = number === 0;
    const state = this.next === null ? (number === 0 ? "none" : "all") : number >= MOST ? "most" : number > 0 ? "more" : `none since ${this.next}`;
    // Nothing is taken from under somebody's keyboard.
    if (state === this.told) return;
    this.told = state;
    if (state === "none") {
      const filters = [...this.wanted].length > 0;
      fill(this.end, filters ? empty("No request fits these filters.", "Take one out, or choose a longer span. ", link("/logs/requests", "Show all")) : empty("No requests yet.", "They appear here as soon as somebody sends one to this gateway."));
    } else if (state === "all") {
      fill(this.end);
    } else if (state === "most") {
      fill(this.end, h("p", { class: "quiet-text" }, `No more than ${count(MOST)} are shown at once: choose a filter or a span for others.`));
    } else if (state === "more") {
      fill(this.end, h("button", { type: "button", onclick: () => this.older() }, "Older requests"));
    } else {
      // A text isn't looked for without end. Places are microseconds of Unix time.
      const until = `No request since ${full(this.next / 1000)} has it.`;
      fill(this.end, empty("Nothing found so far.", until), h("button", { type: "button", onclick: () => this.older() }, "Look further back"));
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
      const begun = performance.now();
      if (button.getAttribute("aria-pressed") === "true" && !document.hidden) {
        const error = await refresh().then(() => null, (reason) => reason);
        button.classList.toggle("stuck", error !== null && !isAbort(error));
        button.title = error ? `The gateway doesn't answer: ${error.message}` : "";
      }
      const pause = Math.max(PAUSE, PAUSE_TIMES * (performance.now() - begun));
      if (!signal.aborted) setTimeout(again, button.classList.contains("stuck") ? 5_000 : pause);
    };
    setTimeout(again, PAUSE);
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

/** Stands where more requests came than were asked for, with a link to them. */
function gap(older, newer, wanted) {
  const between = new URLSearchParams(wanted);
  between.delete("span");
  // Places are microseconds of Unix time; both ends are told in whole milliseconds.
  between.set("from", Math.floor(Number(older.dataset.place) / 1000));
  between.set("until", Math.ceil(newer.place / 1000));
  return h("tr", { class: "gap" }, h("td", { colspan: COLUMNS.length }, "More requests came here. ", link(`/logs/requests?${between}`, "Show them")));
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
