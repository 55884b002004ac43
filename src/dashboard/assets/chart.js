/** Charts over time, drawn by uPlot. */

import { h, fill } from "./dom.js";
import uPlot from "./uPlot.esm.js";

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--series-7", "--series-8"];
const HEIGHT = 180;
/** The lines that somebody doesn't want to see, also when the chart is drawn anew. */
const hidden = new Set();

/**
 * A chart with its title and its legend.
 * @param {{title: string, x: number[], series: {name: string, values: (number|null)[], rest?: boolean}[],
 *   format: (value: number) => string, signal: AbortSignal, zoom?: (from: number, until: number) => void, sync?: string}} options
 *   `x` in seconds of Unix time
 */
export function chart({ title, x, series, format, signal, zoom, sync }) {
  const place = h("div", { class: "plot", role: "img", "aria-label": described(title, series, format) });
  const values = series.map(() => h("span", { class: "value" }));
  const legend = h("ul", { class: "legend" }, series.map(({ name, rest }, index) => entry(name, rest, index, values[index], () => toggle(index))));
  const box = h("section", { class: "chart" }, h("h2", {}, title), place, legend);
  let plot = null;
  const key = (index) => `${title} / ${series[index].name}`;
  const shown = series.map((_, index) => !hidden.has(key(index)));
  shown.forEach((is, index) => legend.children[index].firstElementChild.setAttribute("aria-pressed", String(is)));
  const toggle = (index) => {
    shown[index] = !shown[index];
    if (shown[index]) hidden.delete(key(index));
    else hidden.add(key(index));
    legend.children[index].firstElementChild.setAttribute("aria-pressed", String(shown[index]));
    plot?.setSeries(index + 1, { show: shown[index] });
  };
  const tell = (at) => {
    series.forEach((one, index) => {
      const value = at === null || at === undefined ? last(one.values) : one.values[at];
      values[index].textContent = value === null || value === undefined ? "–" : format(value);
    });
  };
  const draw = () => {
    plot?.destroy();
    const width = place.clientWidth || 300;
    plot = new uPlot(options({ width, series, shown, format, zoom, sync, tell }), [x, ...series.map((one) => one.values)], place);
  };
  const resize = new ResizeObserver(() => {
    if (plot === null) draw();
    else if (place.clientWidth > 0 && place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  });
  resize.observe(place);
  addEventListener("themechange", draw, { signal });
  signal.addEventListener("abort", () => {
    resize.disconnect();
    plot?.destroy();
  });
  tell(null);
  return box;
}

function entry(name, rest, index, value, toggle) {
  const swatch = h("span", { class: `swatch swatch-${rest ? "rest" : (index % COLOURS.length) + 1}` });
  return h("li", {}, h("button", { type: "button", "aria-pressed": "true", onclick: toggle }, swatch, h("bdi", {}, name), value));
}

function options({ width, series, shown, format, zoom, sync, tell }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const font = `11px ${style.getPropertyValue("--font").trim() || "sans-serif"}`;
  const axis = { stroke: colour("--faint"), font, grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: Boolean(zoom), y: false, setScale: false }, sync: sync ? { key: sync } : undefined },
    select: { show: Boolean(zoom) },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, size: 24, gap: 4, space: 64, values: (_, ticks, __, ___, step) => ticks.map((tick, index) => moment(tick, ticks[index - 1], step)) },
      { ...axis, size: 58, gap: 4, space: 36, values: (_, ticks) => ticks.map((tick) => format(tick)) },
    ],
    series: [
      {},
      ...series.map((one, index) => ({
        label: one.name,
        show: shown[index],
        stroke: colour(one.rest ? "--series-rest" : COLOURS[index % COLOURS.length]),
        width: 1.5,
        fill: series.length === 1 ? colour("--series-fill") : undefined,
        spanGaps: false,
        points: pointsOf(one.values),
      })),
    ],
    hooks: {
      setCursor: [(plot) => tell(plot.cursor.idx)],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          zoom(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
        },
      ],
    },
  };
}

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** The time of a tick; its day where another one begins. */
function moment(tick, before, step) {
  const date = new Date(tick * 1000);
  const begins = before !== undefined && new Date(before * 1000).getDate() !== date.getDate();
  return begins || step >= 86_400 ? day.format(date) : time.format(date);
}

/** Points for the values without neighbours, which a line doesn't show. */
function pointsOf(values) {
  const none = (value) => value === null || value === undefined;
  const lonely = [...values.keys()].filter((index) => !none(values[index]) && none(values[index - 1]) && none(values[index + 1]));
  return { show: lonely.length > 0, size: 4, filter: () => lonely };
}

function last(values) {
  return values.findLast((value) => value !== null && value !== undefined);
}

function described(title, series, format) {
  const told = series.slice(0, 4).map((one) => `${one.name}: ${format(last(one.values) ?? 0)} at the end`);
  return `${title} over time. ${told.join("; ")}.`;
}

/** The steps of a window, in seconds. */
export function steps({ from, until, step }) {
  return Array.from({ length: Math.max(1, Math.round((until - from) / step)) }, (_, index) => from + index * step);
}

/**
 * Values for each step, of sums for each step.
 * @param {number[]} x
 * @param {Object[]} sums
 * @param {(sum: Object) => number|null} value
 * @param {number|null} missing what holds where there is no sum
 */
export function valuesAt(x, sums, value, missing) {
  const by = new Map(sums.map((sum) => [Math.round(sum.at_ms / 1000), sum]));
  return x.map((at) => (by.has(at) ? value(by.get(at)) : missing));
}

/** Puts the charts where others were. */
export function grid(...charts) {
  return fill(h("div", { class: "charts" }), ...charts);
}
