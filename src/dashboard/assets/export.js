/** Files of what a page shows, for the pages whose rows are in the browser already. */

import { h, say } from "./dom.js";

const KINDS = { csv: "text/csv;charset=utf-8", json: "application/json" };

/**
 * Buttons that save what is shown at the moment.
 * @param {string} name of the files
 * @param {() => Object[]|Object} shown rows, whose fields are columns; or anything, which has no table
 * @param {string[]} [kinds]
 */
export function saves(name, shown, kinds = ["csv", "json"]) {
  const button = (kind) =>
    h("button", { type: "button", "aria-label": `Save as ${kind.toUpperCase()}`, onclick: () => save(`bartizan-${name}.${kind}`, KINDS[kind], kind === "csv" ? csv(shown()) : `${JSON.stringify(shown(), null, 1)}\n`) }, kind.toUpperCase());
  return h("div", { class: "exports", role: "group", "aria-label": "Export" }, kinds.map(button));
}

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const to = h("a", { href: address, download: name, class: "offscreen" });
  document.body.append(to);
  to.click();
  to.remove();
  // The browser may not have begun to read.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  say(`${name} saved.`);
}

/** A table with a column for each field that any row has. */
function csv(rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

/** Spreadsheets take what begins like a formula for one, unless a quote stands before it. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const harmless = /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
  return harmless !== text || /[,;"\r\n]/.test(text) ? `"${harmless.replaceAll('"', '""')}"` : text;
}
