/** The configuration that is in force. */

import { admin } from "./api.js";
import { copy, fill, foreign, h } from "./dom.js";
import { saves } from "./export.js";
import { ago, full } from "./format.js";

export async function config({ root, signal }) {
  const { loaded, config: shown, out_of_force: out } = await admin("config", { signal });
  const sections = Object.entries(shown);
  const text = yaml(shown).trimStart();
  fill(
    root,
    h("div", { class: "page-head" }, h("h1", {}, "Config"), h("span", { class: "when" }, "loaded ", h("time", { datetime: loaded }, full(loaded)), `, ${ago(loaded)}`), h("button", { type: "button", onclick: () => copy(text, "The configuration") }, "Copy"), saves("config", () => shown, ["json"])),
    h("p", { class: "quiet-text" }, "What is in force: the file, what was set besides, and what holds where neither says anything. Secrets are stars."),
    out.length > 0 && h("section", { class: "panel" }, h("h2", {}, "Out of force"), h("ul", {}, out.map(({ section, name, why }) => h("li", {}, `${section} `, foreign(name), ": ", foreign(why))))),
    h("div", { class: "config" }, sections.map(([name, value]) => section(name, value))),
  );
}

function section(name, value) {
  const size = value && typeof value === "object" ? Object.keys(value).length : null;
  const body = value && typeof value === "object" ? yaml(value).trimStart() : scalar(value);
  return h("details", { open: size === null || size <= 40 }, h("summary", {}, name, size !== null && h("span", { class: "quiet-text" }, ` ${size}`)), h("pre", { dir: "ltr" }, body));
}

/** A value in the way of YAML. */
function yaml(value, indent = "") {
  if (value === null || typeof value !== "object") return ` ${scalar(value)}\n`;
  const entries = Object.entries(value);
  if (entries.length === 0) return Array.isArray(value) ? " []\n" : " {}\n";
  if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) return ` [ ${value.map(scalar).join(", ")} ]\n`;
  const lines = entries.map(([name, item]) => {
    if (!Array.isArray(value)) return `${indent}${scalar(name)}:${yaml(item, `${indent}  `)}`;
    // The first field stands behind the dash.
    return `${indent}- ${yaml(item, `${indent}  `).trimStart()}`;
  });
  return `\n${lines.join("")}`;
}

function scalar(value) {
  if (typeof value !== "string") return String(value);
  return /^[\w][\w .\/@-]*$/.test(value) && !/^(true|false|null|yes|no|on|off|[\d.]+)$/i.test(value) && !/\s$/.test(value) ? value : JSON.stringify(value);
}
