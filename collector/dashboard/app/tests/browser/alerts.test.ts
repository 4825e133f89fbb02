/** The view of alerts, and what the rest of the page says of them. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestCollector } from "../../../client/tests/harness/collector.ts";
import { type AlertAnswers, alert, answerAlerts } from "../harness/alerts.ts";
import { auditAccessibility, startBrowser, useDist } from "../harness/browser.ts";

let browser: Browser;
let collector: TestCollector;
let token: string;

beforeAll(async () => {
  [browser, collector] = await Promise.all([startBrowser(), TestCollector.start()]);
  token = (await collector.createToken("operator")).token;
});

afterAll(async () => {
  await browser?.close();
  await collector?.remove();
});

const EVENT = {
  type: "alert",
  rule: "errors",
  subject: "core-1/orders",
  nodeId: "0194",
  pipelineId: "orders",
  state: "firing",
  severity: "warning",
  value: 0.034,
  since: 0,
  text: "errors / events_in > 0.01: 0.034",
  timestamp: 0,
};
const STREAM = [
  'event: hello\ndata: {"type":"hello","epoch":"e","head":1,"oldest":1,"pingMs":10000,"server":"test","resumed":false}\n\n',
  'id: e-1\nevent: snapshot\ndata: {"type":"snapshot","done":true}\n\n',
  `id: e-2\nevent: alert\ndata: ${JSON.stringify(EVENT)}\n\n`,
].join("");

test("alerts are in the header, in notices and in a view, and a silence mutes one", async () => {
  const answers: AlertAnswers = {
    alerts: [
      alert({
        id: "a",
        rule: "errors",
        severity: "warning",
        subject: "core-1/orders",
        pipelineId: "orders",
        value: 0.034,
      }),
      alert({ id: "b" }),
      alert({ id: "c", subject: "edge-9", nodeName: "edge-9", muted: "maintenance" }),
    ],
    silences: [],
    asked: [],
  };
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  await useDist(context);
  await answerAlerts(context, answers, STREAM);
  const page = await context.newPage();
  await page.goto(`${collector.url}/#token=${token}`);
  // What is muted is not counted.
  await page.getByRole("link", { name: "Alerts: 2 alerts firing" }).click();
  await page.locator(".notice", { hasText: "core-1/orders" }).getByText("0.034").waitFor();
  const rows = page.getByRole("table", { name: /Alerts/ }).locator("tbody tr:not(.space)");
  await expect.poll(() => rows.count()).toBe(3);
  await expect
    .poll(() => rows.allInnerTexts())
    .toEqual([
      expect.stringMatching(/Critical[\s\S]*edge-7/),
      expect.stringMatching(/Warning[\s\S]*core-1\/orders[\s\S]*0\.03/),
      expect.stringMatching(/edge-9[\s\S]*in maintenance/),
    ]);
  expect(await auditAccessibility(page)).toEqual([]);

  await rows.first().getByRole("button", { name: "Silence" }).click();
  const dialog = page.getByRole("dialog");
  expect(await dialog.getByLabel(/What is muted/).inputValue()).toBe("rule=node-unreachable node=edge-7");
  await dialog.getByRole("combobox").selectOption("4h");
  await dialog.getByLabel("Note").fill("kernel");
  answers.alerts[1] = alert({ id: "b", muted: "silence" });
  await dialog.getByRole("button", { name: "Silence" }).click();
  await page.getByRole("link", { name: "Alerts: 1 alert firing" }).waitFor();
  expect(answers.asked).toEqual([
    { matchers: ["rule=node-unreachable", "node=edge-7"], duration: "4h", note: "kernel" },
  ]);

  await page.getByRole("link", { name: "Silences" }).click();
  await page.getByText("rule=node-unreachable node=edge-7").waitFor();
  await page.getByRole("button", { name: "End", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End", exact: true }).click();
  await page.getByText("No silence").waitFor();
  await context.close();
});

test("rules, their past, the history and failing targets can be read", async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  await useDist(context);
  await answerAlerts(context, { alerts: [], silences: [], asked: [] }, STREAM);
  const page = await context.newPage();
  await page.goto(`${collector.url}/#token=${token}&to=${encodeURIComponent("/alerts")}`);
  await page.getByText("All is well").waitFor();
  await page.getByRole("link", { name: "Alerts: none fires" }).waitFor();
  await page.getByRole("link", { name: "Rules", exact: true }).click();
  await page.getByText("errors / events_in > 0.01 over 5 min").waitFor();
  await page.getByRole("button", { name: "Last 7 days" }).click();
  await page.getByText("It would not have fired").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("link", { name: "edge-7/orders" }).waitFor();
  await page.getByRole("link", { name: "Targets" }).click();
  await page.getByText("it answered 404 Not Found").waitFor();
  expect(await auditAccessibility(page)).toEqual([]);
  await context.close();
});
