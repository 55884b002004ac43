/** Asks the gateway. Errors have a `message` that says what to do, a `status`, and a `kind`. */

import { setClock } from "./format.js";

export class ApiError extends Error {
  constructor(message, status, kind) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

/** Told when nobody is logged in any more. */
export const loggedOut = new EventTarget();

/**
 * @param {string} path
 * @param {{method?: string, body?: Object, signal?: AbortSignal, quiet?: boolean, headers?: Object}} [options]
 *   `quiet`: a session that has ended is the caller's affair.
 */
export async function ask(path, options = {}) {
  const { method = "GET", body, signal, quiet = false } = options;
  const headers = { ...options.headers };
  if (method !== "GET") headers["x-bartizan-csrf"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the gateway can't be reached", 0, "network");
  }
  setClock(Date.parse(answer.headers.get("date")));
  const text = await answer.text();
  const value = parsed(text);
  if (answer.ok) return value;
  if (answer.status === 401 && !quiet) loggedOut.dispatchEvent(new Event("out"));
  const told = value?.error ?? {};
  throw new ApiError(told.message ?? `the gateway answered ${answer.status}`, answer.status, told.kind ?? told.type);
}

function parsed(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** What the dashboard itself is asked for. */
export function logs(what, query, signal) {
  const search = query === undefined ? "" : `?${query}`;
  return ask(`/logs/api/${what}${search}`, { signal });
}

/** What the administration is asked for. */
export function admin(what, options) {
  return ask(`/admin/v1/${what}`, options);
}

/** All pages of a list of the administration, up to a thousand entries each. */
export async function adminAll(what, signal) {
  const all = [];
  const join = what.includes("?") ? "&" : "?";
  let after = "";
  for (let page = 0; page < 20; page += 1) {
    const answer = await admin(`${what}${join}limit=1000${after && `&after=${encodeURIComponent(after)}`}`, { signal });
    all.push(...answer.data);
    if (!answer.has_more) break;
    after = answer.next;
  }
  return all;
}

export function isAbort(error) {
  return error.name === "AbortError";
}
