/** A real Chromium with pages of a collector's dashboard. What a page complains of fails the test. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import type { TestCollector } from "../../../client/tests/harness/collector.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The longest wait for what a page shows, on a machine that builds and tests at once. */
export const PATIENCE_MS = 30_000;

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
  });
}

export interface Visitor {
  context: BrowserContext;
  page: Page;
  /** Errors in the console, exceptions, and violations of the policy. */
  complaints: string[];
  /** Another tab of the same browser. */
  open(hash?: string): Promise<Page>;
}

/** A browser of its own, signed in by a link with the token. */
export async function visit(
  browser: Browser,
  collector: TestCollector,
  token: string,
  hash = "/",
  options: { colorScheme?: "dark"; width?: number } = {},
): Promise<Visitor> {
  const context = await browser.newContext({
    viewport: { width: options.width ?? 1360, height: 860 },
    colorScheme: options.colorScheme ?? "light",
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const complaints: string[] = [];
  await useDist(context);
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
      // biome-ignore lint/suspicious/noConsole: the test reads the console
      console.error(`policy: ${violatedDirective} ${blockedURI}`);
    });
  });
  context.on("page", (page) => {
    page.on("console", (message) => {
      // A collector without alerts says so with a 404, which the browser writes down.
      const isExpected = /404/.test(message.text()) && message.location().url.includes("/api/v1/alerts?");
      if (message.type() === "error" && !isExpected) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
  });
  const page = await context.newPage();
  await page.goto(`${collector.url}/#token=${token}&to=${encodeURIComponent(hash)}`);
  await page.locator("[data-connection=live]").waitFor();
  return {
    context,
    page,
    complaints,
    async open(target = "/") {
      const tab = await context.newPage();
      await tab.goto(`${collector.url}/#${target}`);
      await tab.locator("[data-connection=live]").waitFor();
      return tab;
    },
  };
}

/** `DASHBOARD_DIST=1 npm test` takes the page from `dist`, so that no build of the collector is needed between two runs. */
export async function useDist(context: BrowserContext): Promise<void> {
  if (process.env.DASHBOARD_DIST === undefined) return;
  const dist = new URL("../../dist/", import.meta.url);
  await context.route(/^[^?#]*:\d+\/(assets\/[^?#]*)?([?#].*)?$/, (route) => {
    const path = new URL(route.request().url()).pathname.slice(1);
    return route.fulfill({ path: new URL(path === "" ? "index.html" : path, dist).pathname });
  });
}

interface Finding {
  id: string;
  impact: string;
  help: string;
  nodes: { html: string; failureSummary: string }[];
}

/** Serious and critical findings of axe, in words. */
export async function auditAccessibility(page: Page): Promise<string[]> {
  // Evaluated by the browser's own tools, which the page's policy does not concern.
  await page.evaluate(AXE);
  const findings = await page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run(): Promise<{ violations: Finding[] }> } }).axe;
    return (await axe.run()).violations;
  });
  return findings
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes
          .map(({ html, failureSummary }) => `${html} ${failureSummary}`)
          .join("; ")
          .slice(0, 600)}`,
    );
}
