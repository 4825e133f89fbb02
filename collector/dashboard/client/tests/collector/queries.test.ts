/** The query client against the real collector. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { allItems, QueryClient, QueryError } from "../../src/index.ts";
import { type NewToken, TestCollector } from "../harness/collector.ts";
import { eventually } from "../harness/eventually.ts";
import type { TestNode } from "../harness/node.ts";

let collector: TestCollector;
let viewer: NewToken;
let node: TestNode;
let queries: QueryClient;

beforeAll(async () => {
  collector = await TestCollector.start();
  viewer = await collector.createToken("viewer");
  node = await collector.enroll("host");
  await node.report({ id: "a", events: { in: 500, out: 250 }, lines: ["one", "two TIMEOUT", "three"] }, { id: "b/ü" });
  await node.report({ id: "a", status: "CRASHED", events: { in: 5, out: 5 } }, { id: "b/ü" });
  queries = new QueryClient({ url: collector.url, token: viewer.token });
});

afterAll(() => collector?.remove());

test("nodes and pipelines have their state", async () => {
  const { items, next } = await queries.nodes({ status: ["DEGRADED", "OFFLINE"] });
  expect(next).toBeNull();
  expect(items.map(({ id, name, status }) => [id, name, status])).toEqual([[node.id, "host", "DEGRADED"]]);
  const { gaps, pipelines } = await queries.node(node.id);
  expect(gaps).toEqual([]);
  expect(pipelines.map(({ pipelineId, status }) => [pipelineId, status])).toEqual([
    ["a", "CRASHED"],
    ["b/ü", "RUNNING"],
  ]);
  const { items: rows, total } = await queries.fleetNodes({ pipelineStatus: ["CRASHED"], sort: "state", order: "asc" });
  expect([total, rows.map(({ name }) => name), rows[0]?.sample.eventsInRate]).toEqual([1, ["host"], 1]);
  expect((await queries.fleetNodes({ label: ["site", "!canary"] })).total).toBe(0);
  const map = await queries.fleetMap();
  expect([map.names, map.stateNames[map.states[0] ?? -1]]).toEqual([
    ["host"],
    { status: "DEGRADED", worstPipeline: "CRASHED" },
  ]);
  const [worst] = (await queries.fleetPipelines({ sort: "worst" })).items;
  expect([worst?.id, worst?.statuses]).toEqual(["a", { CRASHED: 1 }]);
  expect((await queries.pipelines()).items.map(({ id }) => id)).toEqual(["a", "b/ü"]);
  expect((await queries.pipeline("b/ü")).name).toBe("B/Ü");
  expect((await queries.environments()).items.map(({ name }) => name)).toEqual(["default"]);
});

test("histories and samples count exactly what was reported", async () => {
  const minutes = await queries.pipelineMinutes("a", { step: "minute" });
  expect(minutes.step).toBe("minute");
  expect(minutes.items.reduce((sum, { eventsIn }) => sum + eventsIn, 0)).toBe(505);
  const components = await queries.componentMinutes("a", { node: node.id });
  const sink = components.items.filter(({ componentId }) => componentId === "out");
  expect(sink.reduce((sum, { receivedEvents }) => sum + receivedEvents, 0)).toBe(255);
  expect((await queries.nodeMinutes(node.id)).step).toBe("minute");
  const samples = await queries.samples({ node: node.id, pipeline: "a" });
  expect(samples.items.map(({ receivedEventsRate }) => receivedEventsRate)).toEqual([100, 1]);
});

test("lines are found by their text, and lists come page after page", async () => {
  const { items } = await queries.logs({ pipeline: "a", q: "timeout" });
  expect(items.map(({ line, level }) => [line, level])).toEqual([["two TIMEOUT", "INFO"]]);
  const lines: string[] = [];
  for await (const { line } of allItems((cursor) => queries.logs({ limit: 1, ...cursor }))) lines.push(line);
  expect(lines).toEqual(["one", "two TIMEOUT", "three"]);
  const changes = await queries.statusChanges({ pipeline: "a" });
  expect(changes.items.map(({ type, toStatus }) => [type, toStatus])).toEqual([
    ["status_change", "RUNNING"],
    ["status_change", "CRASHED"],
  ]);
});

test("the lines of a gap are found by their numbers", async () => {
  const [, second] = (await queries.logs()).items;
  if (second === undefined) throw new Error("there are three lines");
  const { items } = await queries.logs({ cursor: String(second.seq - 1), limit: 1 });
  expect(items).toEqual([second]);
});

test.each([
  ["a bad parameter", 400, "limit", () => queries.nodes({ limit: 0 })],
  ["an unknown pipeline", 404, "nowhere", () => queries.pipeline("nowhere")],
  ["an unknown token", 401, "token", () => new QueryClient({ url: collector.url, token: "x" }).nodes()],
])("%s is a problem of status %i that names it", async (_, status, name, query) => {
  const error = await query().then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(QueryError);
  expect(error).toMatchObject({ status, problem: { status, detail: expect.stringContaining(name) } });
});

test("a signal ends a query that waits", async () => {
  const abort = new AbortController();
  const { items } = await queries.samples({ node: node.id, pipeline: "a" });
  const since = items.at(-1)?.timestamp;
  const waiting = queries.samples({ node: node.id, pipeline: "a", since, wait: 30_000 }, { signal: abort.signal });
  abort.abort(new Error("the page is left"));
  await expect(waiting).rejects.toThrow("the page is left");
});

test("queries use a new token after the old one was revoked", async () => {
  const tokens = [await collector.createToken("viewer"), await collector.createToken("viewer")] as const;
  let asked = 0;
  const renewed = new QueryClient({
    url: collector.url,
    token: () => {
      asked += 1;
      return Promise.resolve(tokens[asked - 1]?.token);
    },
  });
  await renewed.nodes();
  await collector.revoke(tokens[0]);
  await eventually("the first token has ended", async () => {
    await renewed.nodes();
    return asked === 2;
  });
});
