// A browser at the dashboard, which complains of everything that a page complains of.

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";

const SHOTS = resolve(import.meta.dirname, "../../target/screenshots");

export async function open() {
  mkdirSync(SHOTS, { recursive: true });
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // As root, and in containers, Chromium has no sandbox of its own.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page of a browser of its own, with all complaints in `page.complaints`. */
export async function visit(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("console", (message) => {
    // An answer that is a refusal is complained of by the browser itself; pages show it.
    if (["error", "warning"].includes(message.type()) && !page.expected?.test(message.text())) page.complaints.push(message.text());
  });
  if (process.env.ASSETS) await fromDisk(context);
  return page;
}

export async function logIn(page, url, key) {
  await page.goto(`${url}/logs`);
  await page.getByLabel("Key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
}

export function shoot(page, name) {
  return page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** While pages are written: files of the source in the place of those in the program. */
async function fromDisk(context) {
  await context.route(/\/logs\/assets\//, async (route) => {
    const name = new URL(route.request().url()).pathname.split("/").pop();
    const answer = await route.fetch().catch(() => null);
    const headers = answer?.headers() ?? {};
    delete headers["content-length"];
    await route.fulfill({ path: join(process.env.ASSETS, name), headers: { ...headers, "content-type": kindOf(name) } });
  });
}

function kindOf(name) {
  return { js: "text/javascript", css: "text/css", svg: "image/svg+xml" }[name.split(".").pop()] ?? "text/plain";
}
