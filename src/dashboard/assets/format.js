/** Numbers, money and times as they are read. */

let skew = 0;

/** Notes what time it is at the gateway, which need not be what it is here. */
export function setClock(time) {
  const difference = time - Date.now();
  if (!Number.isNaN(difference) && Math.abs(difference - skew) > 2_000) skew = Math.abs(difference) > 2_000 ? difference : 0;
}

/** The time at the gateway, in milliseconds of Unix time. */
export function now() {
  return Date.now() + skew;
}

const whole = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export function count(number) {
  return number === null || number === undefined ? "–" : Math.abs(number) < 100_000 ? whole.format(number) : compact.format(number);
}

export function exact(number) {
  return whole.format(number);
}

/** Dollars, with as many places as it takes to see something. */
export function usd(dollars) {
  if (dollars === null || dollars === undefined || Number.isNaN(dollars)) return "–";
  const size = Math.abs(dollars);
  if (size === 0) return "$0";
  const sign = dollars < 0 ? "−" : "";
  if (size >= 100_000) return `${sign}$${compact.format(size)}`;
  if (size >= 1_000) return `${sign}$${whole.format(Math.round(size))}`;
  if (size >= 0.1) return `${sign}$${size.toFixed(2)}`;
  if (size < 1e-6) return `${sign}<$0.000001`;
  return `${sign}$${size.toFixed(Math.min(6, 2 - Math.floor(Math.log10(size)) - 1)).replace(/0+$/, "")}`;
}

/** Billionths of a dollar. */
export function nano(amount) {
  return amount === null || amount === undefined ? "–" : usd(amount / 1e9);
}

/** A length of time in milliseconds. */
export function ms(time) {
  if (time === null || time === undefined) return "–";
  if (time === 0) return "0";
  if (time < 1) return `${Math.round(time * 1000)} µs`;
  if (time < 10) return `${time.toFixed(1)} ms`;
  if (time < 1000) return `${Math.round(time)} ms`;
  if (time < 60_000) return `${(time / 1000).toFixed(time < 10_000 ? 2 : 1)} s`;
  if (time < 3_600_000) return `${Math.floor(time / 60_000)} min ${Math.round((time % 60_000) / 1000)} s`;
  return `${Math.floor(time / 3_600_000)} h ${Math.round((time % 3_600_000) / 60_000)} min`;
}

export function percent(share, places = 1) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = share * 100;
  return `${value !== 0 && Math.abs(value) < 0.1 ? value.toFixed(2) : value.toFixed(places)} %`.replace(/\.0+ %$/, " %");
}

export function ratio(part, all) {
  return all > 0 ? part / all : null;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** The time of day; with its day if that isn't today. */
export function clock(milliseconds) {
  const date = new Date(milliseconds);
  const time = clockFormat.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${dayFormat.format(date)} ${time}`;
}

export function full(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "–" : fullFormat.format(date);
}

/** How long ago something was. */
export function ago(time) {
  const seconds = Math.max(0, (now() - new Date(time).getTime()) / 1000);
  if (Number.isNaN(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

/** `budget_exhausted` as words. */
export function words(name) {
  return name === null || name === undefined ? "–" : String(name).replaceAll("_", " ");
}
