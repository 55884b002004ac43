/** Which page is shown, and who may see it. */

import { ask, isAbort, loggedOut } from "./api.js";
import { audit } from "./audit.js";
import { config } from "./config.js";
import { detail } from "./detail.js";
import { fill, h, link, empty, failed } from "./dom.js";
import { health } from "./health.js";
import { keys } from "./keys.js";
import { login } from "./login.js";
import { models } from "./models.js";
import { overview } from "./overview.js";
import { requests } from "./requests.js";
import { spend } from "./spend.js";

const PAGES = [
  { path: "", title: "Overview", show: overview },
  { path: "requests", title: "Requests", show: requests },
  { path: "spend", title: "Spend", show: spend },
  { path: "models", title: "Models", show: models },
  { path: "health", title: "Health", show: health },
  { path: "keys", title: "Keys", show: keys },
  { path: "audit", title: "Audit", show: audit },
  { path: "config", title: "Config", show: config },
];

const main = document.getElementById("main");
const top = document.querySelector("header.top");
let showing = new AbortController();

/** The page of the address, and what it has to know of it. */
function found() {
  const path = location.pathname.replace(/^\/logs\/?/, "").replace(/\/$/, "");
  if (path.startsWith("requests/")) {
    return { path: "requests", title: "Request", show: detail, id: decodeURIComponent(path.slice("requests/".length)) };
  }
  return PAGES.find((page) => page.path === path);
}

/**
 * Shows the page of the address. A page is called with where it is shown, the query of its address and a signal that
 * says that it isn't shown any more.
 */
async function show({ focus = true } = {}) {
  showing.abort();
  showing = new AbortController();
  const { signal } = showing;
  const page = found();
  document.title = page ? `${page.title} · bartizan` : "bartizan";
  for (const item of document.querySelectorAll("nav a")) {
    item.toggleAttribute("aria-current", item.dataset.page === page?.path);
    if (item.dataset.page === page?.path) {
      item.setAttribute("aria-current", "page");
      // On a phone there is no room for all of them.
      item.parentElement.scrollLeft = item.offsetLeft - item.parentElement.clientWidth / 2;
    }
  }
  if (focus) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  if (!page) {
    fill(main, empty("There is no such page.", link("/logs", "Go to the overview")));
    return;
  }
  try {
    await page.show({ root: main, query: new URLSearchParams(location.search), id: page.id, signal, go, change });
  } catch (error) {
    if (!isAbort(error) && error.status !== 401 && !signal.aborted) fill(main, failed(error, () => show()));
  }
}

/** Goes to another page. */
function go(address) {
  history.pushState(null, "", address);
  show();
}

/** Shows the same page with another query. */
function change(query, { replace = false } = {}) {
  const search = String(query);
  const address = `${location.pathname}${search && `?${search}`}`;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  const { id, value } = document.activeElement ?? {};
  show({ focus: false });
  keepFocus(id, value);
}

/** Whoever is in a field stays there, with what was written meanwhile; or near what isn't there any more. */
function keepFocus(id, value) {
  const again = id && (document.getElementById(id) ?? document.getElementById("filters") ?? main.querySelector("button"));
  if (!again || again === document.activeElement) return;
  if (typeof value === "string" && again.tagName === "INPUT") again.value = value;
  again.focus({ preventScroll: true });
}

function frame() {
  const nav = document.querySelector("nav");
  fill(
    nav,
    PAGES.map(({ path, title }) => h("a", { href: path ? `/logs/${path}` : "/logs", "data-page": path }, title)),
  );
  document.getElementById("log-out").addEventListener("click", async () => {
    await ask("/logs/api/session", { method: "DELETE", quiet: true }).catch(() => {});
    askKey("out");
  });
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest?.("a[href]");
    const modified = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0;
    if (!anchor || modified || event.defaultPrevented || anchor.hasAttribute("download") || anchor.target) return;
    const url = new URL(anchor.href);
    const ours = url.origin === location.origin && /^\/logs(\/|$)/.test(url.pathname) && !url.hash;
    if (!ours || url.pathname.startsWith("/logs/api/") || url.pathname.startsWith("/logs/assets/")) return;
    event.preventDefault();
    go(url.pathname + url.search);
  });
  addEventListener("popstate", () => !top.hidden && show());
  loggedOut.addEventListener("out", () => askKey("ended"));
  theme();
}

const THEMES = ["auto", "light", "dark"];

function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const tell = () => {
    button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[root.dataset.theme];
    button.setAttribute("aria-label", `Colours: ${root.dataset.theme}. Change`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    localStorage.setItem("theme", root.dataset.theme);
    tell();
    dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  tell();
}

function askKey(state) {
  showing.abort();
  top.hidden = true;
  document.title = "Log in · bartizan";
  login(main, state, () => enter());
}

function enter(options) {
  top.hidden = false;
  show(options);
}

async function begin() {
  frame();
  try {
    const key = new URLSearchParams(location.hash.slice(1)).get("key");
    if (key) {
      // The address that the gateway prints when it starts has the key behind its #, which no server sees.
      history.replaceState(null, "", location.pathname + location.search);
      await ask("/logs/api/session", { method: "POST", body: { key }, quiet: true }).catch(() => {});
    }
    const { state } = await ask("/logs/api/session", { quiet: true });
    if (state === "in") enter({ focus: false });
    else askKey(state);
  } catch (error) {
    fill(main, failed(error, begin));
  }
}

begin();
