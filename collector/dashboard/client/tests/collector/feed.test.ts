/** The library against the real collector. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { FleetStore, pipelineKey } from "../../src/index.ts";
import { type NewToken, TestCollector } from "../harness/collector.ts";
import { eventually } from "../harness/eventually.ts";
import { Recorder } from "../harness/recorder.ts";

let collector: TestCollector;
let viewer: NewToken;
let recorders: Recorder[];

beforeEach(async () => {
  recorders = [];
  collector = await TestCollector.start();
  viewer = await collector.createToken("viewer");
});

afterEach(async () => {
  for (const { feed } of recorders) feed.close();
  await collector.remove();
});

function record(options: Partial<ConstructorParameters<typeof Recorder>[0]> = {}): Recorder {
  const recorder = new Recorder({ url: collector.url, token: viewer.token, ...options });
  recorders.push(recorder);
  return recorder;
}

test("every line and change comes once and in order, over kills of the collector", async () => {
  const node = await collector.enroll("host");
  await node.report({ id: "a" }, { id: "b" });
  const everything = record({ every: 0 });
  const ofOne = record({ types: ["log_entry"], pipelines: ["a"], snapshot: false });
  await everything.becomes("live");
  await ofOne.becomes("live");
  const lines: string[] = [];
  for (let i = 0; i < 120; i += 1) {
    if (i % 30 === 15) {
      await collector.kill();
      await collector.startAgain();
    }
    const status = i % 2 === 0 ? "DEGRADED" : "RUNNING";
    lines.push(`${i} äöü€😀`);
    await node.report({ id: "a", status, lines: [`${i} äöü€😀`] }, { id: "b", lines: [`b ${i}`] });
    if (i % 30 === 20) await everything.comesBack();
    if (i % 30 === 25) ofOne.feed.recover();
  }
  await eventually("the last line came", () => everything.lines.length >= 240 && ofOne.lines.length >= 120);
  expect(everything.lines.filter((line) => !line.startsWith("b "))).toEqual(lines);
  expect(everything.lines.filter((line) => line.startsWith("b "))).toEqual(lines.map((_, i) => `b ${i}`));
  expect(ofOne.lines).toEqual(lines);
  const changes = everything.ofType("status_change").filter(({ pipelineId }) => pipelineId === "a");
  expect(changes.map(({ toStatus }) => toStatus)).toEqual(lines.map((_, i) => (i % 2 === 0 ? "DEGRADED" : "RUNNING")));
  expect(everything.ofType("snapshot")).toHaveLength(1);
  for (const { events } of [everything, ofOne]) {
    expect(events.filter(({ type }) => type === "gap" || type === "reset")).toEqual([]);
  }
  await everything.becomes("live");
  await ofOne.becomes("live");
});

test("an event that waited while later ones were sent is delivered, without an id", async () => {
  const [node, other] = [await collector.enroll("host"), await collector.enroll("other")];
  const recorder = record({ every: 500, snapshot: false });
  await recorder.becomes("live");
  const ids: (string | undefined)[] = [];
  await eventually("a metric_update without an id came", async () => {
    await other.report({ id: "b", events: { in: 500, out: 500 } });
    await node.report({ id: "a", lines: ["x"] });
    ids.push(recorder.feed.lastEventId);
    return recorder.withoutId.some(({ type }) => type === "metric_update");
  });
  const seqs = ids.map((id) => Number(id?.split("-")[1] ?? 0));
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  expect(recorder.withoutId.some(({ type }) => type === "log_entry")).toBe(false);
});

test("a saved position is where another feed resumes", async () => {
  const node = await collector.enroll("host");
  const first = record({ snapshot: false });
  await first.becomes("live");
  await node.report({ id: "a", lines: ["1"] });
  await eventually("a line came", () => first.lines.length === 1);
  first.feed.close();
  await node.report({ id: "a", lines: ["2", "3"] });
  const { lastEventId } = first.feed;
  expect(lastEventId).toBeDefined();
  const second = record({ after: lastEventId ?? "" });
  await eventually("what was missed came", () => second.lines.length === 2);
  expect(second.lines).toEqual(["2", "3"]);
  expect(second.ofType("hello")[0]).toMatchObject({ resumed: true });
  await second.becomes("live");
});

test("another database is a reset, and its snapshot follows", async () => {
  const old = await collector.enroll("old");
  await old.report({ id: "a", lines: ["of the old one"] });
  // The new database does not have the old token. In a page the user logs in again meanwhile.
  const login = { token: viewer.token };
  const store = new FleetStore();
  const recorder = record({
    fetch: (input, init) => {
      const headers = new Headers(init?.headers);
      headers.set("Authorization", `Bearer ${login.token}`);
      return fetch(input, { ...init, headers });
    },
  });
  await recorder.becomes("live");
  await collector.kill();
  collector.wipe();
  await collector.startAgain();
  login.token = (await collector.createToken("viewer")).token;
  const node = await collector.enroll("new");
  await recorder.comesBack();
  await node.report({ id: "b", lines: ["of the new one"] });
  await eventually("a line of the new one came", () => recorder.lines.includes("of the new one"));
  expect(recorder.ofType("reset")).toEqual([{ type: "reset", reason: "epoch" }]);
  const from = recorder.events.findIndex(({ type }) => type === "reset");
  for (const event of recorder.events.slice(from)) store.apply(event);
  expect([...store.state.nodes.keys()]).toEqual([node.id]);
  expect(recorder.lines).toEqual(["of the new one"]);
});

test("a replay reports what it leaves out as a gap, and a snapshot with the state follows", async () => {
  const node = await collector.enroll("host");
  const before = record({ snapshot: false });
  await before.becomes("live");
  const { epoch, head } = before.ofType("hello")[0] ?? {};
  const pipelines = (status: string) => Array.from({ length: 1_000 }, (_, i) => ({ id: `p${i}`, status }));
  for (let i = 0; i < 11; i += 1) await node.report(...pipelines(i % 2 === 0 ? "DEGRADED" : "RUNNING"));
  await node.report(...pipelines("STOPPED"));
  // A replay from memory has no limit. A new process has nothing in memory.
  await collector.kill();
  await collector.startAgain();
  const recorder = record({ after: `${epoch}-${head}`, types: ["status_change"] });
  await eventually("a snapshot was taken", () => recorder.ofType("snapshot").length > 0);
  await recorder.becomes("live");
  expect(recorder.ofType("gap")).toMatchObject([{ reason: "limit", types: ["status_change"] }]);
  expect(recorder.ofType("status_change")).toHaveLength(10_000);
  const [snapshot] = recorder.ofType("snapshot");
  expect(snapshot?.pipelines).toHaveLength(1_000);
  expect(new Set(snapshot?.pipelines?.map(({ status }) => status))).toEqual(new Set(["STOPPED"]));
});

test("a revoked token ends in failed, and so does an unknown one", async () => {
  const revoked = record();
  await revoked.becomes("live");
  await collector.revoke(viewer);
  await revoked.becomes("failed");
  const refused = record();
  await refused.becomes("failed");
  expect(refused.states).toEqual(["failed"]);
});

test("a token from a function is replaced when the collector ends it, and nothing is lost", async () => {
  const node = await collector.enroll("host");
  const tokens = [viewer, await collector.createToken("viewer")];
  let asked = 0;
  const recorder = record({
    snapshot: false,
    token: () => {
      asked += 1;
      return tokens[asked - 1]?.token;
    },
  });
  await recorder.becomes("live");
  await node.report({ id: "a", lines: ["before"] });
  await collector.revoke(viewer);
  await recorder.becomes("stale");
  await node.report({ id: "a", lines: ["meanwhile"] });
  await recorder.comesBack();
  await node.report({ id: "a", lines: ["after"] });
  await eventually("all lines came", () => recorder.lines.length === 3);
  expect(recorder.lines).toEqual(["before", "meanwhile", "after"]);
  expect(recorder.states).not.toContain("failed");
  expect(asked).toBe(2);
});

test("a wrong parameter is reported in the collector's words", async () => {
  const recorder = record({ every: 70_000 });
  await recorder.becomes("failed");
  expect(recorder.details).toEqual([{ reason: expect.stringMatching(/^HTTP 400: .*every.*70000/), status: 400 }]);
});

test("the store holds what the collector holds, from a snapshot and what follows", async () => {
  const node = await collector.enroll("host");
  await node.report({ id: "a", events: { in: 500, out: 250 } }, { id: "b", status: "STOPPED" });
  const store = new FleetStore();
  const recorder = record();
  await recorder.becomes("live");
  for (const event of recorder.events) store.apply(event);
  expect(store.state.isComplete).toBe(true);
  expect(store.state.nodes.get(node.id)).toMatchObject({ name: "host", status: "HEALTHY" });
  const a = pipelineKey(node.id, "a");
  expect(store.state.pipelines.get(a)).toMatchObject({ pipelineName: "A", status: "RUNNING" });
  expect(store.state.pipelines.get(a)?.sample?.sample).toMatchObject({ receivedEventsRate: 100, sentEventsRate: 50 });
  await node.report({ id: "a", status: "CRASHED", events: { in: 1_000, out: 1_000 } });
  await eventually("the change came", () => recorder.ofType("metric_update").length > 0);
  await eventually("the other one stopped", () => recorder.ofType("status_change").length > 0);
  for (const event of recorder.events) store.apply(event);
  expect(store.state.nodes.get(node.id)?.status).toBe("DEGRADED");
  expect(store.state.pipelines.get(a)).toMatchObject({ status: "CRASHED" });
  expect(store.state.pipelines.get(a)?.sample?.components.map(({ componentId }) => componentId)).toEqual(["in", "out"]);
});

test("while the collector is down the feed polls, and it reconnects without help", async () => {
  let polls = 0;
  const recorder = record({
    poll: () => {
      polls += 1;
    },
  });
  await recorder.becomes("live");
  expect(polls).toBe(0);
  await collector.stop();
  await recorder.becomes("stale");
  await eventually("it polls", () => polls > 0);
  expect(recorder.ofType("goodbye")).toMatchObject([{ reason: "shutdown" }]);
  await collector.startAgain();
  // The collector asks for a wait of at most 8 s.
  await recorder.becomes("live");
  expect(recorder.states).toEqual(["replaying", "live", "stale", "replaying", "live"]);
});
