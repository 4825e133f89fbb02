/** Takes the pictures of docs/dashboard.md: each view in light and dark, on a desktop and a phone. */

import { join } from "node:path";
import { TestCollector } from "../../client/tests/harness/collector.ts";
import { startBrowser, visit } from "../tests/harness/browser.ts";
import { makeFleet } from "./fleet.ts";

const INTO = join(process.cwd(), "../../../docs/images");
const SETTLE_MS = 3_000;

const collector = await TestCollector.start();
const browser = await startBrowser();
try {
  const { token } = await collector.createToken("admin");
  const report = await makeFleet(collector);
  for (let round = 0; round < 11; round += 1) {
    await report();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  }
  let isOver = false;
  const reporting = (async () => {
    while (!isOver) {
      await report();
      await new Promise((resolve) => setTimeout(resolve, 5_000));
    }
  })();
  const list = await fetch(`${collector.url}/api/v1/fleet/nodes?q=edge-oslo`, {
    headers: { Authorization: `Bearer ${token}` },
  });
  const { items } = (await list.json()) as { items: { id: string }[] };
  const views: readonly [name: string, hash: string, sign: string][] = [
    ["fleet", "/", ".row-bad"],
    ["node", `/nodes/${items[0]?.id}?range=24h`, "canvas"],
    ["flow", "/pipelines/orders?component=route", ".component"],
    ["charts", "/pipelines/orders?tab=charts&range=24h", "canvas"],
    ["ledger", "/pipelines/orders?tab=ledger&target=99.97", "tr.sum"],
    ["logs", "/logs", ".line"],
    ["events", "/events", "table"],
    ["pipelines", "/pipelines", "table"],
  ];
  for (const [suffix, options] of [
    ["light", { width: 1280 }],
    ["dark", { width: 1280, colorScheme: "dark" as const }],
    ["phone-light", { width: 390 }],
    ["phone-dark", { width: 390, colorScheme: "dark" as const }],
  ] as const) {
    const { page, context, complaints } = await visit(browser, collector, token, "/", options);
    await page.setViewportSize({ width: options.width, height: 800 });
    for (const [name, hash, sign] of views) {
      await page.goto(`${collector.url}/#${hash}`);
      await page.locator(sign).first().waitFor();
      await page.waitForTimeout(SETTLE_MS);
      await page.screenshot({ path: join(INTO, `${name}-${suffix}.png`) });
    }
    if (complaints.length > 0) process.stderr.write(`${suffix}: ${complaints.join("; ")}\n`);
    await context.close();
  }
  isOver = true;
  await reporting;
} finally {
  await browser.close();
  await collector.remove();
}
