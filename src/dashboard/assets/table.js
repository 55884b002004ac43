/** Tables that can be sorted. */

import { h, fill } from "./dom.js";

/**
 * @typedef {Object} Column
 * @property {string} title
 * @property {(row: any) => Node|string|number} cell
 * @property {(row: any) => number|string|null} [sort] by what rows are sorted; a column without it can't be
 * @property {boolean} [number] whether it is aligned as numbers are
 * @property {string} [class]
 */

/** How tables were sorted by somebody, by their captions: also when they are drawn anew. */
const chosen = new Map();

/**
 * @param {string} caption what it shows, for those who can't see where it stands
 * @param {Column[]} columns
 * @param {any[]} rows
 * @param {{sorted?: number, rowClass?: (row: any) => string|undefined}} [options] `sorted`: by which column, largest first
 */
export function table(caption, columns, rows, { sorted = null, rowClass } = {}) {
  let { by, falling } = chosen.get(caption) ?? { by: sorted, falling: true };
  const head = h("tr");
  const body = h("tbody");
  const draw = () => {
    fill(head, columns.map((column, index) => header(column, index)));
    fill(body, ordered().map((row) => h("tr", { class: rowClass?.(row) }, columns.map((column) => cell(column, row)))));
  };
  const header = (column, index) => {
    const kind = column.number ? "number" : (column.class ?? undefined);
    if (!column.sort) return h("th", { scope: "col", class: kind }, column.title);
    const state = by === index ? (falling ? "descending" : "ascending") : undefined;
    const turn = () => {
      falling = by === index ? !falling : true;
      by = index;
      chosen.set(caption, { by, falling });
      draw();
      head.children[index].firstElementChild.focus();
    };
    return h("th", { scope: "col", class: kind, "aria-sort": state }, h("button", { type: "button", class: "sort", onclick: turn }, column.title));
  };
  const ordered = () => {
    if (by === null) return rows;
    const value = columns[by].sort;
    const compared = (a, b) => (typeof a === "string" || typeof b === "string" ? String(a ?? "").localeCompare(String(b ?? "")) : (a ?? -Infinity) - (b ?? -Infinity));
    return [...rows].sort((a, b) => (falling ? -1 : 1) * compared(value(a), value(b)));
  };
  draw();
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {}, h("caption", { class: "offscreen" }, caption), h("thead", {}, head), body));
}

function cell(column, row) {
  const value = column.cell(row);
  return h("td", { class: column.number ? "number" : (column.class ?? undefined), "data-title": column.title }, value);
}
