// What an administrator does at the dashboard, in Chromium, with the proxy and a fake provider behind it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { logIn, open, shoot, visit } from "./browser.mjs";
import { ADMIN, Gateway } from "./gateway.mjs";

const user = (content) => [{ role: "user", content }];

let gateway;
let browser;
let pages = [];

before(async () => {
  gateway = await Gateway.start();
  browser = await open();
  await gateway.traffic();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

afterEach(async () => {
  const complaints = pages.flatMap((page) => page.complaints);
  await Promise.all(pages.map((page) => page.context().close()));
  pages = [];
  assert.deepEqual(complaints, []);
});

/** A page where somebody is logged in. */
async function enter(options) {
  const page = await look(options);
  await logIn(page, gateway.url, ADMIN);
  return page;
}

async function look(options) {
  const page = await visit(browser, options);
  pages.push(page);
  return page;
}

/** Goes to a page, and waits until it shows what it has. */
async function go(page, path, text) {
  const [, id] = /^\/requests\/(\w+)/.exec(path) ?? [];
  // A record is kept a moment after its answer.
  if (id) await page.waitForFunction(async (id) => (await (await fetch(`/logs/api/requests?text=${id}`)).json()).lines.length > 0, id);
  await page.goto(`${gateway.url}/logs${path}`);
  await page.getByText(text, { exact: false }).first().waitFor();
  await page.waitForLoadState("networkidle").catch(() => {});
}

const rows = (page) => page.locator("table.requests tbody tr");

test("a wrong key is refused, and the right one opens the page that was wanted", async () => {
  const page = await look();
  page.expected = /401/;
  await page.goto(`${gateway.url}/logs/models`);

  await page.getByLabel("Key").fill("not-the-key");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the key of the administrators.").waitFor();
  await shoot(page, "log-in");
  await page.getByLabel("Key").fill(ADMIN);
  await page.keyboard.press("Enter");

  await page.getByRole("heading", { name: "Models" }).waitFor();
  assert.equal(await page.evaluate(() => document.cookie), "", "scripts don't see the session");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Key").waitFor();
  const refused = await page.evaluate(async () => (await fetch("/logs/api/requests")).status);
  assert.equal(refused, 401);
});

test("the overview shows what happened, split and zoomed", async () => {
  const page = await enter();

  await page.getByText("Requests per minute").waitFor();
  assert.equal(await page.locator(".plot canvas").count(), 9);
  const told = await page.locator(".figure", { hasText: "Requests" }).first().innerText();
  assert.ok(Number(/\d+/.exec(told)[0]) >= 36, told);
  await page.getByLabel("Split by").selectOption("team");

  await page.getByRole("link", { name: "platform" }).waitFor();
  assert.match(page.url(), /by=team/);
  await shoot(page, "overview");
  await page.getByRole("button", { name: "1 year" }).click();
  await page.getByText("Requests per week").waitFor();
});

test("traffic arrives while one looks, refused requests too", async () => {
  const page = await enter();
  await go(page, "/requests", "acme/big");

  const answered = await gateway.chat("search", { model: "chat", messages: user("Live!") });
  const refused = await gateway.chat("narrow", { model: "acme/big", messages: user("May I?") });

  const row = page.locator(`tr[data-id="${refused.id}"]`);
  await row.getByText("403 forbidden").waitFor();
  await page.locator(`tr[data-id="${answered.id}"]`).waitFor();
  await shoot(page, "requests");
  await page.getByRole("button", { name: "Live" }).click();
  const late = await gateway.chat("search", { model: "chat", messages: user("Not shown") });
  await page.waitForTimeout(2_500);
  assert.equal(await page.locator(`tr[data-id="${late.id}"]`).count(), 0);
});

test("filters narrow what is shown and have an address of their own", async () => {
  const page = await enter();
  await go(page, "/requests", "acme/big");

  await page.getByText("Filters").click();
  await page.getByLabel("Key", { exact: true }).fill("billing");
  await page.getByLabel("Key", { exact: true }).press("Enter");
  await page.getByRole("button", { name: "Take out the filter Key" }).waitFor();
  await page.getByLabel("Latency above").fill("0");
  await page.getByLabel("Model", { exact: true }).fill("careful");
  await page.getByLabel("Model", { exact: true }).press("Enter");
  await page.getByRole("button", { name: "Take out the filter Model" }).waitFor();

  assert.match(page.url(), /key=billing/);
  assert.ok((await rows(page).count()) >= 12);
  for (const text of await rows(page).allInnerTexts()) assert.match(text, /careful/);
  const other = await enter();
  await other.goto(page.url());
  await rows(other).first().waitFor();
  assert.equal(await rows(other).count(), await rows(page).count());
  await go(page, "/requests?status=failed&text=nothing-says-this", "No request fits these filters.");
  await shoot(page, "no-requests");
});

test("a request is shown with its attempts, its cost and what was said", async () => {
  const page = await enter();
  const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
  const { id } = await gateway.chat("search", { model: "chat", messages: user("How is the weather?"), tools });
  await go(page, `/requests/${id}`, "Attempts");

  await page.getByText("How is the weather?").first().waitFor();
  assert.match(await page.locator(".part-call").innerText(), /weather[\s\S]*Paris/);
  assert.match(await page.locator(".timeline").innerText(), /acme\/fast/);
  assert.match(await page.locator("table", { hasText: "Together" }).innerText(), /Input from the cache/);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy as curl" }).click();
  const curl = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(curl, /^curl 'http:.*\/v1\/chat\/completions'/);
  assert.ok(curl.includes('"authorization: Bearer $YOUR_KEY"') && !curl.includes("vk-"), curl);
  await shoot(page, "request");
});

test("an answer is shown again as it streamed", async () => {
  const page = await enter();
  const { id } = await gateway.chat("search", { model: "chat", stream: true, messages: user("one two three four five six seven eight nine ten") });
  await go(page, `/requests/${id}`, "Conversation");
  const said = page.locator(".message[data-role=assistant] .said-text");
  const whole = await said.innerText();

  const time = page.getByLabel("Time since the request arrived");
  await time.fill(String(Math.round(Number(await time.getAttribute("max")) / 2)));
  const half = await said.innerText();
  await page.getByRole("button", { name: "Replay" }).click();

  assert.match(whole, /ten$/);
  assert.ok(half.length > 0 && half.length < whole.length && whole.startsWith(half), half);
  await page.waitForFunction((text) => document.querySelector(".message[data-role=assistant] .said-text").innerText === text, whole);
});

test("what clients and models write is text, whatever it looks like", async () => {
  const page = await enter();
  const evil = `<script>document.title = "taken"</script><img src=x onerror="document.title='taken'"> "quotes" 'and' \\ & שלום עולם \u202Eevil\u202C`;
  const { id } = await gateway.chat("search", { model: "chat", messages: user(evil) }, { "x-bartizan-user": "<b>user</b>", "x-bartizan-tags": "feature==1+1" });
  await gateway.chat("search", { model: "<i>model</i>", messages: user(evil) });
  await go(page, `/requests/${id}`, "Conversation");

  const asked = await page.locator(".message[data-role=user] .said-text").textContent();
  assert.equal(asked, evil);
  assert.equal(await page.locator("main script, main img, main b:has-text('user'), main i").count(), 0);
  await shoot(page, "hostile");
  await go(page, "/requests", "<i>model</i>");
  assert.equal(await page.locator("main i, main script").count(), 0);
  await go(page, "/models?by=model", "<i>model</i>");
  assert.doesNotMatch(await page.title(), /taken/);
  const text = await page.evaluate(async () => (await fetch("/logs/api/sums.csv?by=feature&span=1h")).text());
  assert.match(text, /,"'=1\+1",/);
});

test("spend tells what changed, and what is left of budgets", async () => {
  const page = await enter();

  await go(page, "/spend?span=24h", "Spend by team");
  await page.getByRole("link", { name: "platform" }).waitFor();
  assert.match(await page.locator(".budgets").innerText(), /research[\s\S]*of \$0.50 per month/);
  await shoot(page, "spend");
  await page.getByLabel("By", { exact: true }).selectOption("feature");
  await page.getByRole("link", { name: "invoices" }).waitFor();
  // Users are counted by the hour.
  const asked = page.waitForRequest(/\/sums\?.*by=user/);
  await page.getByLabel("By", { exact: true }).selectOption("user");
  const query = new URL((await asked).url()).searchParams;
  assert.deepEqual([Number(query.get("step")), Number(query.get("from")) % 3_600_000], [3_600, 0]);
});

test("models, health and the configuration are shown", async () => {
  const page = await enter();

  await go(page, "/models", "spare/fast");
  assert.match(await page.locator("table").first().innerText(), /Tokens\/s[\s\S]*stop/);
  await shoot(page, "models");
  await go(page, "/health", "passed over");
  assert.match(await page.locator("main").innerText(), /acme\/fail-503[\s\S]*requests per day/);
  await shoot(page, "health");
  await go(page, "/audit", "has logged in");
  await shoot(page, "audit");
  await go(page, "/config", "providers");
  const shown = await page.locator("main").innerText();
  assert.ok(shown.includes("***") && shown.includes("careful"));
  for (const secret of ["sk-upstream", ADMIN, "vk-"]) assert.ok(!shown.includes(secret), secret);
  await shoot(page, "config");
});

test("a key is made, shown once, used, disabled and deleted", async () => {
  const page = await enter();
  await go(page, "/keys", "in the file");

  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name").fill("fresh");
  await page.getByLabel("Budget in dollars").fill("2.5");
  await page.getByLabel("Limit of requests").fill("100/minute");
  await shoot(page, "new-key");
  await page.getByRole("button", { name: "Make the key" }).click();
  const key = await page.locator(".the-key").innerText();
  await page.getByRole("button", { name: "Done" }).click();
  assert.equal((await gateway.chat(key, { model: "chat", messages: user("Hello") })).status, 200);

  const row = page.getByRole("row", { name: /fresh/ });
  assert.match(await row.innerText(), /of \$2.50 per month[\s\S]*100\/minute requests/);
  await page.getByRole("button", { name: "Disable fresh" }).click();
  await row.getByText("disabled").waitFor();
  assert.equal((await gateway.chat(key, { model: "chat", messages: user("Hello") })).status, 401);
  await shoot(page, "keys");
  await page.getByRole("button", { name: "Enable fresh" }).click();
  await row.getByText("in use").waitFor();
  await page.getByRole("button", { name: "Edit fresh" }).click();
  await page.getByLabel("Budget in dollars").fill("");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.waitForFunction(() => !document.querySelector("main").innerText.includes("$2.50"));
  await page.getByRole("button", { name: "Rotate fresh" }).click();
  await page.getByRole("button", { name: "Rotate", exact: true }).click();
  const other = await page.locator(".the-key").innerText();
  await page.getByRole("button", { name: "Done" }).click();
  assert.notEqual(other, key);
  assert.equal((await gateway.chat(key, { model: "chat", messages: user("Hello") })).status, 401);
  assert.equal((await gateway.chat(other, { model: "chat", messages: user("Hello") })).status, 200);
  await page.getByRole("button", { name: "Delete fresh" }).click();
  await page.getByRole("button", { name: "Delete the key" }).click();
  await row.waitFor({ state: "detached" });
});

test("what is shown is exported", async () => {
  const page = await enter();
  await go(page, "/requests?key=narrow", "403 forbidden");

  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);

  const text = await readFile(await download.path(), "utf8");
  assert.equal(download.suggestedFilename(), "bartizan-requests.csv");
  assert.match(text.split("\r\n")[1], /,403,.*,narrow,/);
  assert.equal(text.trim().split("\r\n").length, (await rows(page).count()) + 1);
});

test("what a page has in the browser is exported too", async () => {
  const page = await enter();
  const saved = async (path, ready, kind) => {
    await go(page, path, ready);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: `Save as ${kind}` }).click()]);
    return [download.suggestedFilename(), await readFile(await download.path(), "utf8")];
  };

  const [name, keys] = await saved("/keys", "narrow", "CSV");
  assert.equal(name, "bartizan-keys.csv");
  const [head, ...rows] = keys.trim().split("\r\n");
  assert.ok(head.split(",").includes("name") && rows.some((row) => row.includes("narrow")), keys);
  const [, audit] = await saved("/audit", "Who", "JSON");
  assert.ok(JSON.parse(audit).every((entry) => entry.number > 0 && entry.at), audit);
  const [, health] = await saved("/health", "State", "CSV");
  assert.match(health, /^target,|,target,/);
  const [, config] = await saved("/config", "loaded", "JSON");
  assert.ok(JSON.parse(config).providers, config);
});

test("a text that isn't found at once is looked for further back", async () => {
  const page = await enter();
  // As a gateway answers that has too many records to look through at once.
  await page.route(/\/logs\/api\/requests\?.*text=far/, (route) => {
    const before = new URL(route.request().url()).searchParams.get("before");
    const next = { null: 1_700_000_000_000_000, 1700000000000000: 1_600_000_000_000_000, 1600000000000000: null }[before];
    return route.fulfill({ json: { lines: [], next } });
  });
  await go(page, "/requests?text=far", "Nothing found so far.");
  await page.getByText("since 14 Nov 2023").waitFor();
  await shoot(page, "requests-so-far");

  await page.getByRole("button", { name: "Look further back" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("since 13 Sep").waitFor();
  await page.keyboard.press("Enter");

  await page.getByText("No request fits these filters.").waitFor();
});

test("who goes where nothing is gets told so, with a way back", async () => {
  const page = await enter();
  page.expected = /404/;
  await go(page, "/nothing", "There is no such page.");

  await page.getByRole("link", { name: "Go to the overview" }).click();

  await page.getByRole("heading", { name: "Overview" }).waitFor();
});

test("all of it is reached by keyboard, and what has it is seen", async () => {
  const page = await enter();
  const focused = () => page.evaluate(() => document.activeElement.innerText || document.activeElement.getAttribute("aria-label"));

  await page.goto(`${gateway.url}/logs`);
  await page.getByText("Requests per minute").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Requests");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Requests" }).waitFor();
  await rows(page).first().waitFor();
  for (let presses = 0; presses < 40 && !/^\d\d:\d\d:\d\d$/.test(await focused()); presses += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Attempts" }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "Requests" }).waitFor();
});

test("what changes by itself leaves the keyboard and the order of rows alone", async () => {
  const page = await enter();
  const focused = () => page.evaluate(() => document.activeElement.innerText);

  await Promise.all(Array.from({ length: 110 }, () => gateway.chat("search", { model: "chat", messages: user("Many") })));
  await go(page, "/requests", "Older requests");
  await page.getByRole("button", { name: "Older requests" }).focus();
  const { id } = await gateway.chat("search", { model: "chat", messages: user("One more") });
  await page.locator(`tr[data-id="${id}"]`).waitFor();
  assert.equal(await focused(), "Older requests");

  await go(page, "/requests?key=search&model=chat", "chat");
  await page.getByRole("button", { name: "Take out the filter Key" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Take out the filter Key" }).waitFor({ state: "detached" });
  assert.match(await focused(), /Model: chat/);

  await go(page, "?by=team&span=15m", "platform");
  const asked = page.waitForResponse(/\/sums\?.*by=team/, { timeout: 15_000 });
  await page.getByRole("button", { name: "Tokens" }).last().click();
  await (await asked).finished();
  await page.waitForTimeout(200);
  assert.equal(await page.locator("th[aria-sort]").innerText(), "Tokens");
});

test("requests that came while nobody looked are shown, or have a link", async () => {
  const page = await enter();
  await go(page, "/requests?key=search", "chat");
  await page.getByRole("button", { name: "Live" }).click();
  const sent = await Promise.all(Array.from({ length: 130 }, () => gateway.chat("search", { model: "chat", messages: user("Unseen") })));

  await page.getByRole("button", { name: "Live" }).click();
  const link = page.locator(".gap a");
  await link.waitFor();
  const shown = async () => new Set(await rows(page).evaluateAll((all) => all.map((row) => row.dataset.id)));
  const before = await shown();
  await shoot(page, "requests-gap");
  await link.click();

  await page.waitForURL(/from=\d+&until=\d+/);
  await rows(page).first().waitFor();
  const between = await shown();
  assert.ok(between.size < 100, `${between.size}`);
  assert.deepEqual(sent.filter(({ id }) => !before.has(id) && !between.has(id)), []);
});

test("on a phone the chosen span is in sight", async () => {
  const page = await enter({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await go(page, "?span=365d", "Requests per week");

  const [left, right] = await page.getByRole("button", { name: "1 year" }).evaluate((button) => [button.getBoundingClientRect().left, button.getBoundingClientRect().right]);
  assert.ok(left >= 0 && right <= 360, `${left} to ${right}`);
});

test("nothing is wider than a phone", async () => {
  const page = await enter({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  const { id } = await gateway.chat("search", { model: "chat", messages: user("x".repeat(300)) });

  for (const [path, text] of [["?by=key", "Requests per minute"], ["/requests", "search"], [`/requests/${id}`, "Attempts"], ["/spend?span=24h", "platform"], ["/models", "acme/fast"], ["/health", "passed over"], ["/keys", "narrow"], ["/audit", "has logged in"], ["/config", "providers"]]) {
    await go(page, path, text);
    const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= screen, `${path}: ${wide} > ${screen}`);
    await shoot(page, `phone-${path.split("/")[1]?.split("?")[0] || "overview"}${path.includes(id) ? "-one" : ""}`);
  }
});

test("it is dark where somebody wants it dark", async () => {
  const page = await enter({ colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.getByText("Requests per minute").waitFor();
  await shoot(page, "dark");

  await page.getByRole("button", { name: /Colours: auto/ }).click();
  const light = await ground();
  await page.reload();
  await page.getByRole("heading", { name: "Overview" }).waitFor();

  assert.notEqual(light, dark);
  assert.equal(await ground(), light, "it stays so");
  await page.getByRole("button", { name: /Colours: light/ }).click();
  assert.equal(await ground(), dark);
});

test("a first start prints a link that logs in", async () => {
  const first = await Gateway.withoutConfiguration();
  const page = await look();
  try {
    const link = /http:\S+\/logs#key=\S+/.exec(first.greeting)[0];

    await page.goto(link);
    await page.getByText("No requests in this span.").waitFor();

    assert.doesNotMatch(page.url(), /key=/);
    const key = /OPENAI_API_KEY=(\S+)/.exec(first.greeting)[1];
    const answer = await fetch(`${first.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "demo/echo", messages: user("Hello!") }),
    });
    assert.equal(answer.status, 200);
    await page.getByRole("link", { name: "Requests" }).first().click();
    await page.getByText("demo/echo").first().waitFor();
  } finally {
    // It would complain that nobody answers any more.
    await page.context().close();
    await first.stop();
  }
});
