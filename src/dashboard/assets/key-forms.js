/** Dialogs about one key. */

import { admin, adminAll } from "./api.js";
import { copy, fill, foreign, h, say, sentence } from "./dom.js";
import { changed } from "./keys.js";

/**
 * A dialog with a form. `send` gets the values and may give back what is shown in the form's place.
 * @param {string} title
 * @param {Node[]} fields
 * @param {string} action what the button says
 * @param {(values: FormData) => Promise<Node|void>} send
 */
function ask(title, fields, action, send, kind = "primary") {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { class: kind }, action);
  const cancel = h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { onsubmit: (event) => submit(event) }, fields, wrong, h("div", { class: "dialog-end" }, cancel, button));
  const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() }, h("h2", {}, title), form);
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      const shown = await send(new FormData(form));
      if (!shown) return dialog.close();
      fill(dialog, h("h2", {}, title), shown, h("div", { class: "dialog-end" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Done")));
      dialog.querySelector("button").focus();
    } catch (error) {
      wrong.textContent = sentence(error.message);
    } finally {
      button.disabled = false;
    }
  };
  document.body.append(dialog);
  dialog.showModal();
}

function field(name, title, more = {}, hint) {
  const id = `key-${name}`;
  const input = h("input", { id, name, autocomplete: "off", dir: "auto", "aria-describedby": hint && `${id}-hint`, ...more });
  return h("div", { class: "field" }, h("label", { for: id }, title), input, hint && h("p", { class: "hint", id: `${id}-hint` }, hint));
}

const PERIODS = ["day", "week", "month", "quarter", "year"];

function budgetFields(key) {
  const budget = [key?.budget ?? []].flat()[0];
  const per = h("select", { name: "per", "aria-label": "Period of the budget" }, [...new Set([...(budget ? [budget.per] : []), "month", ...PERIODS])].map((period) => h("option", { value: period }, `per ${period}`)));
  const usd = h("input", { id: "key-usd", name: "usd", type: "number", min: "0", step: "any", placeholder: "no limit", value: budget?.usd ?? "" });
  const several = [key?.budget ?? []].flat().length > 1 && h("p", { class: "hint" }, "It has several budgets; saving another amount here leaves only this one.");
  return h("div", { class: "field" }, h("label", { for: "key-usd" }, "Budget in dollars"), h("div", { class: "pair" }, usd, per), several);
}

function limitFields(key) {
  const text = (name) => [key?.limits?.[name] ?? []].flat().join(", ");
  return [
    field("requests", "Limit of requests", { value: text("requests"), placeholder: "600/minute" }),
    field("tokens", "Limit of tokens", { value: text("tokens"), placeholder: "1M/day" }),
  ];
}

function moreFields(key, teams) {
  const team = h("select", { id: "key-team", name: "team" }, h("option", { value: "" }, "none"), teams.map(({ name }) => h("option", { value: name, selected: key?.team === name }, name)));
  const log = h("input", { type: "checkbox", name: "log_content", checked: key?.log_content ?? false });
  return [
    teams.length > 0 && h("div", { class: "field" }, h("label", { for: "key-team" }, "Team"), team),
    field("allow", "Models", { value: (key?.allow ?? []).join(", "), placeholder: "all" }, "Separated by commas; * stands for any characters."),
    budgetFields(key),
    limitFields(key),
    field("expires", "Expires", { type: "datetime-local", value: key?.expires ? local(key.expires) : "" }),
    h("label", { class: "check" }, log, "Keep what its requests and answers say"),
  ];
}

/** A moment as the field for one wants it: in the browser's own time, without saying so. */
function local(time) {
  const date = new Date(time);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What a form says, as the fields of a key; `null` takes away what `key` has. */
function read(values, key) {
  const text = (name) => (values.get(name) ?? "").trim();
  const list = (name) => text(name).split(",").map((item) => item.trim()).filter(Boolean);
  const several = (items) => (items.length === 0 ? null : items.length === 1 ? items[0] : items);
  const usd = text("usd");
  const first = [key?.budget ?? []].flat()[0];
  const sameBudget = first && Number(first.usd) === Number(usd) && first.per === text("per");
  const fields = {
    team: text("team") || null,
    allow: list("allow").length > 0 ? list("allow") : null,
    expires: text("expires") ? new Date(text("expires")).toISOString() : null,
    log_content: values.get("log_content") ? true : null,
    limits: { requests: several(list("requests")), tokens: several(list("tokens")) },
  };
  if (!sameBudget) fields.budget = usd === "" ? null : { usd: Number(usd), per: text("per") };
  return fields;
}

/** Without what says nothing: a new key has nothing that could be taken away. */
function tidy(value) {
  const entries = Object.entries(value).map(([name, item]) => [name, item && typeof item === "object" && !Array.isArray(item) ? tidy(item) : item]);
  return Object.fromEntries(entries.filter(([, item]) => item !== null && !(typeof item === "object" && !Array.isArray(item) && Object.keys(item).length === 0)));
}

function teams() {
  return adminAll("teams").catch(() => []);
}

export async function makeKey(again) {
  const fields = [field("name", "Name", { required: true, maxlength: "200", autofocus: true }), moreFields(null, await teams())];
  // The same form makes one key, however often it is sent.
  const once = crypto.getRandomValues(new Uint32Array(4)).join("-");
  ask("New key", fields, "Make the key", async (values) => {
    const body = { name: values.get("name").trim(), ...tidy(read(values, null)) };
    const made = await admin("keys", { method: "POST", body, headers: { "idempotency-key": once } });
    again();
    if (!made.key) throw new Error(`there is a key of the name ${body.name} already`);
    return secret(made.key);
  });
}

export async function editKey(key, again) {
  ask(`Edit ${key.name}`, moreFields(key, await teams()), "Save", async (values) => {
    await changed(key, read(values, key));
    say(`${key.name} is changed.`);
    again();
  });
}

export function rotateKey(key, again) {
  const fields = [
    h("p", {}, "Makes another key in its place, with the same name, budgets and limits."),
    field("grace", "The old key works for", { placeholder: "not at all", pattern: "[0-9]+[smhd]" }, "Such as 1h or 7d, so that everybody has time to change it."),
  ];
  ask(`Rotate ${key.name}`, fields, "Rotate", async (values) => {
    const grace = values.get("grace").trim();
    const headers = key.version === undefined ? {} : { "if-match": `"${key.version}"` };
    const made = await admin(`keys/${encodeURIComponent(key.name)}/rotate`, { method: "POST", body: grace ? { grace } : {}, headers });
    again();
    return secret(made.key);
  });
}

export function removeKey(key, again) {
  const text = h("p", {}, "Requests with ", foreign(key.name), " will be refused. What it has used stays known. This can't be undone.");
  ask(`Delete ${key.name}`, [text], "Delete the key", async () => {
    await admin(`keys/${encodeURIComponent(key.name)}`, { method: "DELETE" });
    say(`${key.name} is deleted.`);
    again();
  }, "danger-button");
}

/** A key that is shown this once. */
function secret(key) {
  return h("div", { class: "secret" }, h("p", {}, "This is the only time that the key is shown."), h("div", { class: "pair" }, h("code", { class: "the-key" }, key), h("button", { type: "button", onclick: () => copy(key, "The key") }, "Copy")));
}
