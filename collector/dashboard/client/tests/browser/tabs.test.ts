/** The built library in a real Chromium, against the real collector. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Chromium, type Tab } from "../harness/chromium.ts";
import { type NewToken, TestCollector } from "../harness/collector.ts";
import { eventually } from "../harness/eventually.ts";
import type { TestNode } from "../harness/node.ts";
import { Site } from "../harness/site.ts";

let browser: Chromium;
let collector: TestCollector;
let site: Site;
let viewer: NewToken;
let node: TestNode;
let tabs: Tab[];

beforeAll(async () => {
  [browser, collector] = await Promise.all([Chromium.start(), TestCollector.start()]);
  viewer = await collector.createToken("viewer");
  node = await collector.enroll("host");
});

afterAll(async () => {
  await browser?.close();
  await collector?.remove();
});

beforeEach(async () => {
  tabs = [];
  site = await Site.start(collector.url);
});

afterEach(async () => {
  for (const tab of tabs) await tab.close().catch(() => {});
  await site.close();
});

async function openTab(): Promise<Tab> {
  const tab = await browser.open(site.url);
  tabs.push(tab);
  await eventually("the page's script has run", () => tab.evaluate<boolean>("window.isReady === true"));
  return tab;
}

/** A tab whose feed is live. */
async function openFeed(options: object): Promise<Tab> {
  const tab = await openTab();
  await tab.evaluate(`begin(${JSON.stringify(options)})`);
  await eventually("the feed is live", () => isLive(tab));
  return tab;
}

function isLive(tab: Tab): Promise<boolean> {
  return tab.evaluate<boolean>('feed.state === "live"');
}

async function showsLines(tab: Tab, lines: string[]): Promise<void> {
  await eventually(`${lines.length} lines came`, async () => {
    return (await tab.evaluate<string[]>("lines()")).length >= lines.length;
  });
  expect(await tab.evaluate<string[]>("lines()")).toEqual(lines);
}

test("two tabs share one connection, and when the leader closes the other resumes without a gap", async () => {
  const first = await openFeed({ token: viewer.token });
  const second = await openFeed({ token: viewer.token });
  await eventually("one connection is left", () => site.openStreams.length === 1);
  await node.report({ id: "a", lines: ["1 €😀", "2"] });
  for (const tab of [first, second]) await showsLines(tab, ["1 €😀", "2"]);
  const [shared] = site.openStreams;
  await first.close();
  await node.report({ id: "a", lines: ["3"] });
  await eventually("the first tab's stream is gone, and one of the second is there", () => {
    return shared?.isOpen === false && site.openStreams.length === 1;
  });
  await node.report({ id: "a", lines: ["4"] });
  await showsLines(second, ["1 €😀", "2", "3", "4"]);
  expect(site.openStreams[0]?.request.headers["last-event-id"]).toMatch(/^[a-z0-9]+-[0-9]+$/);
  const types = await second.evaluate<string[]>("received.map(({ event }) => event.type)");
  expect(types.filter((type) => type === "gap" || type === "reset")).toEqual([]);
  expect(types.filter((type) => type === "snapshot")).toHaveLength(1);
  await eventually("the second is live", () => isLive(second));
});

test("a tab that loses its stream resumes, and names itself and its place", async () => {
  const tab = await openFeed({ token: viewer.token, share: false, snapshot: false });
  await node.report({ id: "a", lines: ["before"] });
  await showsLines(tab, ["before"]);
  site.openStreams[0]?.cut();
  await node.report({ id: "a", lines: ["meanwhile"] });
  await tab.evaluate("feed.recover()");
  await showsLines(tab, ["before", "meanwhile"]);
  expect(site.streams.at(-1)?.request.headers["x-systole-client"]).toMatch(/^systole-client\//);
  expect(await tab.evaluate<string[]>("states")).toContain("stale");
});

test("a page of another origin reads with a token, and resumes", async () => {
  const tab = await openFeed({ url: collector.url, token: viewer.token, snapshot: false });
  await node.report({ id: "a", lines: ["before"] });
  await showsLines(tab, ["before"]);
  await tab.evaluate("feed.close()");
  await node.report({ id: "a", lines: ["meanwhile"] });
  await tab.evaluate(`begin({
    url: ${JSON.stringify(collector.url)},
    token: ${JSON.stringify(viewer.token)},
    after: feed.lastEventId,
  })`);
  await showsLines(tab, ["before", "meanwhile"]);
  expect(site.streams).toEqual([]);
});

test("EventSource does the same with a session's cookie", async () => {
  const tab = await openTab();
  const login = `fetch("/api/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: ${JSON.stringify(viewer.token)} }),
  }).then(({ ok }) => ok)`;
  expect(await tab.evaluate<boolean>(login)).toBe(true);
  await tab.evaluate('begin({ mode: "eventsource", share: false, every: 0 })');
  await eventually("the feed is live", () => isLive(tab));
  await node.report({ id: "a", lines: ["before €😀"] });
  await showsLines(tab, ["before €😀"]);
  site.openStreams[0]?.cut();
  await eventually("it noticed", () => tab.evaluate<boolean>('states.includes("stale")'));
  await node.report({ id: "a", lines: ["meanwhile"] });
  await tab.evaluate("feed.recover()");
  await showsLines(tab, ["before €😀", "meanwhile"]);
  await node.report({ id: "a", lines: ["after"] });
  await showsLines(tab, ["before €😀", "meanwhile", "after"]);
  expect(site.streams.at(-1)?.request.url).toMatch(/after=[a-z0-9]+-[0-9]+/);
  await eventually("the state of the node came, which only the newest counts of", () => {
    return tab.evaluate<boolean>('received.filter(({ event }) => event.type === "fleet_status").length >= 2');
  });
  await tab.evaluate('fetch("/api/v1/session", { method: "DELETE" })');
});

test("EventSource opens a session with its token function, and another one when that has ended", async () => {
  const tab = await openTab();
  await tab.evaluate(`{
    window.logins = 0;
    const token = async () => {
      window.logins += 1;
      await fetch("/api/v1/session", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token: ${JSON.stringify(viewer.token)} }),
      });
    };
    begin({ mode: "eventsource", share: false, token });
  }`);
  await eventually("the feed is live", () => isLive(tab));
  await tab.evaluate('fetch("/api/v1/session", { method: "DELETE" })');
  await eventually("the session has ended", () => tab.evaluate<boolean>('states.includes("stale")'));
  await node.report({ id: "a", lines: ["meanwhile"] });
  await eventually("the feed is live again", async () => {
    await tab.evaluate('feed.state === "stale" && feed.recover()');
    return isLive(tab);
  });
  await showsLines(tab, ["meanwhile"]);
  expect(await tab.evaluate<number>("logins")).toBe(2);
  expect(await tab.evaluate<string[]>("states")).not.toContain("failed");
  await tab.evaluate('fetch("/api/v1/session", { method: "DELETE" })');
});

test("EventSource without a right ends in failed, though the browser does not say why", async () => {
  const tab = await openTab();
  await tab.evaluate('begin({ mode: "eventsource", share: false })');
  await eventually("it failed", () => tab.evaluate<boolean>('feed.state === "failed"'));
});
