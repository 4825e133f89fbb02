/** Every view in light and dark, and at the width of a phone: axe has no serious finding, and nothing is cut. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestCollector } from "../../../client/tests/harness/collector.ts";
import { auditAccessibility, startBrowser, visit } from "../harness/browser.ts";
import { FleetNode } from "../harness/fleet.ts";

let browser: Browser;
let collector: TestCollector;
let token: string;
let node: FleetNode;

beforeAll(async () => {
  [browser, collector] = await Promise.all([startBrowser(), TestCollector.start()]);
  token = (await collector.createToken("admin")).token;
  node = await FleetNode.enroll(collector, "edge-1", { site: "lab" });
  const lost = await FleetNode.enroll(collector, "edge-2", { site: "lab" });
  const now = Date.now();
  await node.report([{ id: "orders", events: 500, discarded: 3 }], [now - 180_000, now - 120_000, now - 60_000]);
  await node.report([
    { id: "orders", events: 500, lines: [{ level: "WARN", line: "slow" }] },
    { id: "audit", status: "CRASHED", reason: "exit status 1", withoutTopology: true },
  ]);
  await lost.report([{ id: "orders", status: "DEGRADED", reason: "sink is slow", events: 5 }]);
});

afterAll(async () => {
  await browser?.close();
  await collector?.remove();
});

const VIEWS: readonly [string, () => string, string][] = [
  ["fleet", () => "/", "table"],
  ["groups", () => "/?group=site", "tr.group"],
  ["node", () => `/nodes/${node.id}?range=1h`, "canvas"],
  ["pipelines", () => "/pipelines", "table"],
  ["flow", () => "/pipelines/orders", ".component"],
  ["charts", () => "/pipelines/orders?tab=charts&range=1h", "canvas"],
  ["ledger of a pipeline", () => "/pipelines/orders?tab=ledger", "tr.sum"],
  ["versions", () => "/pipelines/orders?tab=versions", ".empty"],
  ["tap", () => "/pipelines/orders?tab=tap", ".tap"],
  ["logs", () => "/logs", ".line"],
  ["events", () => "/events", "table"],
  ["ledger", () => "/ledger", ".kept"],
  ["rollouts", () => "/rollouts", ".empty"],
];

for (const [name, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" as const }],
  ["phone", { width: 390 }],
] as const) {
  test(`no view has a serious finding (${name})`, async () => {
    const { page, context, complaints } = await visit(browser, collector, token, "/", options);
    const findings: Record<string, string[]> = {};
    for (const [view, hash, sign] of VIEWS) {
      await page.goto(`${collector.url}/#${hash()}`);
      await page.locator(sign).first().waitFor();
      const found = await auditAccessibility(page);
      const isCut = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      if (isCut) found.push("the page is wider than the window");
      if (found.length > 0) findings[view] = found;
    }
    expect(findings).toEqual({});
    expect(complaints).toEqual([]);
    await context.close();
  });
}
