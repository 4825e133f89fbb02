/** The dashboard that a collector serves, in a real Chromium. */

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TestCollector } from "../../../client/tests/harness/collector.ts";
import { eventually } from "../../../client/tests/harness/eventually.ts";
import { startBrowser, useDist, type Visitor, visit } from "../harness/browser.ts";
import { FleetNode } from "../harness/fleet.ts";

let browser: Browser;
let collector: TestCollector;
let tokens: Record<"viewer" | "operator" | "admin", string>;
let edge: FleetNode;
let core: FleetNode;
const visitors: Visitor[] = [];

const MINUTE = 60_000;

beforeAll(async () => {
  [browser, collector] = await Promise.all([startBrowser(), TestCollector.start()]);
  const page = await (await fetch(collector.url)).text();
  if (process.env.DASHBOARD_DIST === undefined && !page.includes("assets/app-"))
    throw new Error("the collector was built without the dashboard: make dashboard, and build it again");
  const [viewer, operator, admin] = await Promise.all(
    ["viewer", "operator", "admin"].map((kind) => collector.createToken(kind as "viewer")),
  );
  tokens = { viewer: viewer?.token ?? "", operator: operator?.token ?? "", admin: admin?.token ?? "" };
  edge = await FleetNode.enroll(collector, "edge-1", { site: "lab" });
  core = await FleetNode.enroll(collector, "core-1", { site: "office" });
  // Two hours with a hole in them.
  const begin = Math.floor(Date.now() / MINUTE) * MINUTE - 120 * MINUTE;
  const minutes = Array.from({ length: 119 }, (_, index) => begin + index * MINUTE + 30_000);
  await edge.report([{ id: "orders", events: 500 }], minutes.slice(0, 40));
  await edge.report([{ id: "orders", events: 1_500, discarded: 30 }], minutes.slice(70));
  await edge.report([{ id: "orders", events: 50 }]);
  await core.report([{ id: "audit", events: 10 }]);
});

afterAll(async () => {
  await browser?.close();
  await collector?.remove();
});

afterEach(async () => {
  const complaints = visitors.flatMap((visitor) => visitor.complaints);
  await Promise.all(visitors.map(({ context }) => context.close()));
  visitors.length = 0;
  expect(complaints).toEqual([]);
});

async function visitAs(kind: "viewer" | "operator" | "admin", hash = "/", options = {}): Promise<Visitor> {
  const visitor = await visit(browser, collector, tokens[kind], hash, options);
  visitors.push(visitor);
  return visitor;
}

test("a link with a token signs in, and the token leaves the address", async () => {
  const { page, context } = await visitAs("viewer");
  expect(page.url()).toBe(`${collector.url}/#/`);
  const [cookie] = await context.cookies();
  expect(cookie).toMatchObject({ name: "systole_session", httpOnly: true, sameSite: "Strict" });
  await page.getByRole("link", { name: "edge-1" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel(/token/).waitFor();
  await page.reload();
  await page.getByLabel(/token/).waitFor();
});

test("the form signs in, and says why a token is refused", async () => {
  const context = await browser.newContext();
  await useDist(context);
  const page = await context.newPage();
  await page.goto(collector.url);
  await page.getByLabel(/token/).fill("systole_viewer_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByLabel(/token/).fill(tokens.viewer);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "core-1" }).waitFor();
  await context.close();
});

test("a new node appears with its name, and a change of its state within two seconds", async () => {
  const { page } = await visitAs("viewer");
  const node = await FleetNode.enroll(collector, "new-1");
  await node.report([{ id: "orders", events: 10 }]);
  await page.getByRole("link", { name: "new-1" }).waitFor();
  const delays: number[] = [];
  // The machine may also build: the fastest of some changes shows what the page can.
  for (const [status, row] of [
    ["DEGRADED", "row-warn"],
    ["RUNNING", "row-ok"],
    ["CRASHED", "row-bad"],
    ["RUNNING", "row-ok"],
  ] as const) {
    await node.report([{ id: "orders", status }]);
    const begin = Date.now();
    await page.locator(`tr.${row}`, { hasText: "new-1" }).waitFor();
    delays.push(Date.now() - begin);
  }
  expect(Math.min(...delays)).toBeLessThan(2_000);
});

test("a crash turns the row, raises a toast with names, and puts the node first", async () => {
  const { page } = await visitAs("viewer");
  await page.getByRole("link", { name: "edge-1" }).waitFor();
  await edge.report([{ id: "orders", status: "CRASHED", reason: "exit status 78" }]);
  await page.locator("tr.row-bad", { hasText: "edge-1" }).getByText("1 crashed").waitFor();
  await page.locator(".notice", { hasText: "ORDERS crashed" }).getByText("on edge-1: exit status 78").waitFor();
  await expect.poll(() => page.locator("tbody tr:not(.space)").first().innerText()).toContain("edge-1");
  await edge.report([{ id: "orders", events: 50 }]);
  await page.locator("tr.row-ok", { hasText: "edge-1" }).waitFor();
});

test("after a restart of the collector the page is live again, with what happened meanwhile", async () => {
  const { page, complaints } = await visitAs("viewer", "/events");
  await page.getByRole("table", { name: /Events/ }).waitFor();
  await collector.kill();
  await page.locator(".connection-bar").waitFor();
  await collector.startAgain();
  await core.report([{ id: "audit", status: "CRASHED", reason: "while away" }]);
  await core.report([{ id: "audit", status: "RUNNING", reason: "back again" }]);
  await page.locator("[data-connection=live]").waitFor();
  await page.getByText("while away").first().waitFor();
  await page.getByText("back again").first().waitFor();
  // The browser itself writes down requests that nothing answered.
  expect(
    complaints.filter(
      (text) =>
        !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|503/.test(
          text,
        ),
    ),
  ).toEqual([]);
  complaints.length = 0;
});

test("filters are in the address, and a copied address shows the same", async () => {
  const { page, open } = await visitAs("viewer");
  await page.getByRole("link", { name: "core-1" }).waitFor();
  await page.getByRole("searchbox").fill("edge");
  await page.locator("[data-count='1']").waitFor();
  expect(page.url()).toContain("q=edge");
  const copy = await open(page.url().split("#")[1]);
  await copy.locator("[data-count='1']").waitFor();
  expect(await copy.getByRole("searchbox").inputValue()).toBe("edge");
  const labelled = await open("/?label=site%3Aoffice");
  await labelled.locator("[data-count='1']").waitFor();
  await labelled.getByRole("link", { name: "core-1" }).waitFor();
});

test("the collector sorts and filters: rates are there at once, and a click on a state shows its nodes", async () => {
  await edge.report([{ id: "orders", events: 50 }]);
  await core.report([{ id: "audit", events: 10 }]);
  const { page } = await visitAs("viewer", "/?sort=in&desc=1");
  const rows = page.locator("tbody tr:not(.space)");
  // Of the last report, before any other comes: 50 and 10 events in 5 s.
  await expect.poll(() => rows.first().innerText()).toMatch(/edge-1[\s\S]*10\/s/);
  await expect.poll(() => page.locator("tr", { hasText: "core-1" }).innerText()).toMatch(/2\/s/);
  await expect.poll(() => page.locator(".rate-card").first().innerText()).toMatch(/[1-9]/);
  expect(await page.getByRole("columnheader", { name: "Events in" }).getAttribute("aria-sort")).toBe("descending");
  await page.getByRole("button", { name: "Node", exact: true }).click();
  await expect.poll(() => rows.first().innerText()).toContain("core-1");
  await core.report([{ id: "audit", status: "DEGRADED", reason: "slow" }]);
  await page
    .getByRole("button", { name: /1\s*degraded/ })
    .first()
    .click();
  await page.locator("[data-count='1']").waitFor();
  expect(page.url()).toContain("state=DEGRADED");
  await page.getByText("1 degraded").first().waitFor();
  await core.report([{ id: "audit", events: 10 }]);
  await page.getByText("No node matches").waitFor();
});

test("groups have their nodes, and close", async () => {
  const { page } = await visitAs("viewer", "/?group=site");
  const lab = page.getByRole("button", { name: /site: lab/ });
  await lab.waitFor();
  await page.getByRole("link", { name: "edge-1" }).waitFor();
  await lab.click();
  await page.getByRole("link", { name: "edge-1" }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "core-1" }).waitFor();
});

test("when hundreds of states change at once, the page reads them and says so", async () => {
  const node = await FleetNode.enroll(collector, "busy-1");
  const { page } = await visitAs("viewer", "/?q=busy");
  await page.getByRole("link", { name: "busy-1" }).waitFor();
  const all = (status: string) => Array.from({ length: 150 }, (_, index) => ({ id: `p-${index}`, status }));
  for (const status of ["RUNNING", "CRASHED", "RUNNING", "DEGRADED"]) await node.report(all(status));
  await page.locator(".connection-bar", { hasText: "Many states change at once" }).waitFor();
  await page.getByText("150 degraded").first().waitFor();
  await fetch(`${collector.url}/api/v1/nodes/${node.id}`, {
    method: "DELETE",
    headers: { Authorization: `Bearer ${tokens.admin}` },
  });
  await page.getByText("No node matches").waitFor();
});

test("lines come live into the past ones, with colours, JSON, levels and search", async () => {
  await edge.report([{ id: "orders", lines: [{ level: "INFO", line: "an old line" }] }]);
  const { page, open } = await visitAs("viewer", "/logs");
  await page.getByText("an old line").waitFor();
  const lines = [
    { level: "ERROR", line: "\u001b[31mcannot connect\u001b[0m to the store" },
    { level: "INFO", line: JSON.stringify({ level: "info", msg: "order stored", amount: 12 }) },
  ];
  await edge.report([{ id: "orders", lines }]);
  await page.locator(".ansi-1", { hasText: "cannot connect" }).waitFor();
  await page.locator(".json-message", { hasText: "order stored" }).waitFor();
  await page.getByRole("button", { name: /order stored/ }).click();
  await page.getByText('"amount": 12').waitFor();
  const errors = await open("/logs?level=ERROR");
  await errors.getByText("cannot connect").waitFor();
  expect(await errors.getByText("an old line").count()).toBe(0);
  const found = await open("/logs?q=stored");
  await found.locator("mark", { hasText: "stored" }).waitFor();
  await expect.poll(() => found.locator(".line").count()).toBe(1);
});

test("a time without reports is a gap in the chart", async () => {
  const { page } = await visitAs("viewer", "/pipelines/orders?tab=charts&range=24h");
  const chart = page.getByRole("figure", { name: "Events", exact: true });
  await chart.locator("canvas").waitFor();
  await chart.getByRole("button", { name: "Table" }).click();
  const cells = await chart.locator("tbody tr td:nth-child(2)").allInnerTexts();
  const text = cells.map((cell) => (cell === "–" ? "." : "x")).join("");
  // Thirty minutes between the forty before and those after.
  expect(text).toMatch(/x{40,}\.{30}x{40}/);
});

test("the slider shows a past minute", async () => {
  const past = Math.floor(Date.now() / MINUTE) * MINUTE - 100 * MINUTE;
  const { page } = await visitAs("viewer", `/pipelines/orders?past=6h&at=${past}`);
  const card = page.getByRole("button", { name: /^in source/ });
  // 500 events in the minute's one report.
  await expect.poll(() => card.innerText()).toContain("8.33/s");
  const slider = page.getByRole("slider", { name: "Time of the graph" });
  await slider.fill(String(past + 50 * MINUTE));
  await expect.poll(() => card.innerText()).toContain("25/s");
  await page.getByRole("button", { name: /^parse/ }).click();
  await expect.poll(() => page.locator(".component-detail").innerText()).toContain("Discarded\n0.5/s");
  await page.getByRole("button", { name: "Live" }).click();
  await expect.poll(() => page.url()).not.toContain("at=");
});

test("the ledger accounts for each event", async () => {
  const { page } = await visitAs("viewer", "/pipelines/orders?tab=ledger&target=99");
  const sum = page.locator("tr.sum");
  await sum.waitFor();
  const discarded = await sum.locator("td").nth(2).innerText();
  expect(discarded.replace(/\D/g, "")).toBe(String(49 * 30));
  await sum.getByText("below the target").waitFor();
  const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
  expect(saved.suggestedFilename()).toBe("orders-ledger.csv");
});

test("a viewer is offered no action, and an admin's actions work", async () => {
  const { page } = await visitAs("viewer", `/nodes/${core.id}`);
  await page.getByRole("heading", { name: "core-1" }).waitFor();
  expect(await page.getByRole("button", { name: /Rename|Restart|Remove|Maintenance/ }).count()).toBe(0);
  await page.goto(`${collector.url}/#/`);
  await page.getByRole("link", { name: "core-1" }).waitFor();
  expect(await page.getByRole("checkbox", { name: /Select/ }).count()).toBe(0);

  const admin = await visitAs("admin", `/nodes/${core.id}`);
  await admin.page.getByLabel("More actions").click();
  await admin.page.getByRole("button", { name: "Rename" }).click();
  await admin.page.getByLabel(/Name; empty/).fill("core-renamed");
  await admin.page.getByRole("dialog").getByRole("button", { name: "Rename" }).click();
  await admin.page.getByRole("heading", { name: "core-renamed" }).waitFor();
  // The other one's page has it without being asked.
  await page.getByRole("link", { name: "core-renamed" }).waitFor();
  await admin.page.goto(`${collector.url}/#/`);
  await admin.page.getByRole("checkbox", { name: "Select edge-1" }).check();
  await admin.page.getByRole("toolbar").getByRole("button", { name: "Label" }).click();
  await admin.page.getByLabel(/Labels, like/).fill("rack=r7");
  await admin.page.getByRole("dialog").getByRole("button", { name: "Set" }).click();
  await page.getByText("rack:r7").waitFor();
});

test("versions show their difference, and a rollout its nodes", async () => {
  for (const port of [8080, 9090]) {
    const config = `sources:\n  in:\n    type: http_server\n    address: 0.0.0.0:${port}\n`;
    const answer = await fetch(`${collector.url}/api/v1/pipelines/orders/definition`, {
      method: "PUT",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${tokens.admin}` },
      body: JSON.stringify({ selector: ["site=lab"], engine: "vector", format: "yaml", config }),
    });
    expect(answer.status).toBe(200);
  }
  const { page } = await visitAs("admin", "/pipelines/orders?tab=versions");
  await page.getByRole("button", { name: "Changes" }).first().click();
  await page.locator(".diff-added", { hasText: "0.0.0.0:9090" }).waitFor();
  await page.locator(".diff-removed", { hasText: "0.0.0.0:8080" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Nodes" }).first().click();
  // The test's node accepts no pipelines.
  await page.getByRole("dialog").locator("tr", { hasText: "edge-1" }).getByText("Unfit").waitFor();
});

test("a tap shows events as they come, and why it has ended", async () => {
  const { page } = await visitAs("operator", "/pipelines/orders?tab=tap");
  // What an agent sends is tested with agents; this is what the collector makes of it.
  const event = { at: Date.now(), componentId: "parse", event: { order: 17 } };
  const body = [
    'event: ping\ndata: {"now":1}\n\n',
    `event: tap_event\ndata: ${JSON.stringify(event)}\n\n`,
    'event: tap_dropped\ndata: {"dropped":3}\n\n',
    'event: tap_stopped\ndata: {"reason":"the tap has reached its time"}\n\n',
  ].join("");
  await page.route(/\/tap\?/, (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await edge.report([{ id: "orders", events: 50 }]);
  await page.getByRole("button", { name: "Tap", exact: true }).click();
  await page.getByText('{"order":17}').click();
  await page.getByText('"order": 17').waitFor();
  await page.getByText("The tap has ended: the tap has reached its time.").waitFor();
});

test("an empty fleet says the next commands", async () => {
  const empty = await TestCollector.start();
  const { token } = await empty.createToken("viewer");
  const visitor = await visit(browser, empty, token);
  visitors.push(visitor);
  await visitor.page.getByText("token create --kind enroll").waitFor();
  await visitor.page.getByText(`systole-agent --url ${empty.url}`).waitFor();
  const node = await FleetNode.enroll(empty, "first-1");
  await node.report([]);
  await visitor.page.getByRole("link", { name: "first-1" }).waitFor();
  await visitor.page.close();
  await empty.remove();
});

test("two tabs share one stream", async () => {
  const { open } = await visitAs("viewer", "/events");
  await open("/events");
  await eventually("one stream is left", async () => {
    const metrics = await (
      await fetch(`${collector.url}/metrics`, { headers: { Authorization: `Bearer ${tokens.viewer}` } })
    ).text();
    return /^systole_feed_subscribers 1$/m.test(metrics);
  });
});

test("a wall display has no menus", async () => {
  const context = await browser.newContext();
  await useDist(context);
  const page = await context.newPage();
  await page.goto(`${collector.url}/?kiosk=1#token=${tokens.viewer}`);
  await page.getByRole("link", { name: "edge-1" }).waitFor();
  expect(page.url()).toBe(`${collector.url}/?kiosk=1#/`);
  expect(await page.getByRole("navigation").count()).toBe(0);
  await context.close();
});

test("keys lead to views, to the search, and to the list of keys", async () => {
  const { page } = await visitAs("viewer");
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
  await page.keyboard.press("g");
  await page.keyboard.press("p");
  await page.getByRole("table", { name: "Pipelines" }).waitFor();
  await page.keyboard.press("/");
  await expect.poll(focused).toBe("Search pipelines");
  // While a person types, keys are letters.
  await page.keyboard.press("?");
  expect(await page.getByRole("dialog").count()).toBe(0);
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("Control+k");
  await expect.poll(focused).toBe("Node, pipeline, view or command");
  await page.keyboard.type("core");
  await page.getByRole("option", { name: /^core/, selected: true }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /^core/ }).waitFor();
});
