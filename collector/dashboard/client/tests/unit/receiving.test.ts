/** Which events are new, and what happens after gaps and resets. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SnapshotNode } from "../../src/wire.ts";
import { FakeNetwork, fleetStatus, line, statusChange, Witness } from "./fake_network.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const NODE: SnapshotNode = { nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: null, maintenanceUntil: null };

function live(options: ConstructorParameters<typeof Witness>[1] = {}) {
  const network = new FakeNetwork();
  const witness = new Witness(network, { snapshot: false, ...options });
  network.last.greet().sendId("e-0");
  return { network, witness, main: network.last };
}

describe("each event once", () => {
  test("ids at or below the last are dropped", () => {
    const { witness, main } = live();
    main.send(line("a"), "e-1").send(line("a again"), "e-1").send(line("b"), "e-3").send(line("late"), "e-2");
    expect(witness.lines).toEqual(["a", "b"]);
    main.send(fleetStatus(), "e-3").send(fleetStatus(), "e-2");
    expect(witness.types).not.toContain("fleet_status");
  });

  test("an event without an id is delivered and does not move the position", () => {
    const { witness, main } = live();
    main.send(line("a"), "e-5").send(fleetStatus()).send(line("b"), "e-6");
    expect(witness.types).toEqual(["log_entry", "fleet_status", "log_entry"]);
    expect(witness.ids.slice(-3)).toEqual(["e-5", undefined, "e-6"]);
    main.send(fleetStatus());
    expect(witness.feed.lastEventId).toBe("e-6");
  });

  test("where an id may be an earlier event's, an equal id drops only events that are never conflated", () => {
    const { witness, main } = live();
    main.send(line("a"), "e-5", true);
    main.send(fleetStatus(), "e-5", true).send(statusChange("RUNNING"), "e-5", true).send(fleetStatus(), "e-4", true);
    expect(witness.types).toEqual(["log_entry", "fleet_status"]);
  });

  test("an id alone moves the position", async () => {
    const { network, witness, main } = live();
    main.sendId("e-9").sendId("e-7").end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-9");
    expect(witness.feed.lastEventId).toBe("e-9");
  });

  test("a stream that does not show ids alone begins at the head in hello, and pings move its position", async () => {
    const network = new FakeNetwork();
    new Witness(network, { snapshot: false });
    network.last.send({ ...HELLO, head: 7 }, undefined, true).end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-7");
    network.last.send({ ...HELLO, head: 20, resumed: true }, undefined, true);
    network.last.send({ type: "ping", now: 1 }, "e-12", true).end();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(network.last.request.after).toBe("e-12");
  });

  test("ids of different epochs are not compared", () => {
    const { witness, main } = live();
    main.send(line("a"), "e-5").send(line("b"), "f-1");
    expect(witness.lines).toEqual(["a", "b"]);
  });

  test("an id before the snapshot is not a position", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    network.last.greet().sendId("e-9").end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBeUndefined();
    network.last.greet({ epoch: "f" }).send({ type: "snapshot", done: true }, "f-1");
    expect(witness.types).toEqual(["snapshot"]);
  });

  test("events of unknown types are skipped, but not their ids", () => {
    const { witness, main } = live();
    main.send({ type: "novelty" }, "e-8").send(line("old"), "e-7");
    expect(witness.types).toEqual([]);
  });

  test("a saved id is where the feed resumes", () => {
    const network = new FakeNetwork();
    const witness = new Witness(network, { after: "e-41" });
    expect(network.last.request.after).toBe("e-41");
    expect(network.last.wantsSnapshot).toBe(false);
    expect(witness.feed.lastEventId).toBe("e-41");
    network.last.greet({ head: 42 }).send(line("a"), "e-41").send(line("b"), "e-42");
    expect(witness.lines).toEqual(["b"]);
    expect(witness.feed.state).toBe("live");
  });

  test("an invalid id is an error of connect", () => {
    expect(() => new Witness(new FakeNetwork(), { after: "latest" })).toThrow(/after: "latest" is not the id/);
  });
});

const HELLO = { type: "hello", epoch: "e", head: 0, oldest: 0, pingMs: 10_000, server: "s", resumed: false } as const;

const GAP = { type: "gap", from: 1, to: 9, types: ["log_entry"], reason: "limit" } as const;

describe("a gap", () => {
  test("fetches a snapshot on a second stream, and delivers later events after it", () => {
    const { network, witness, main } = live();
    main.send({ ...GAP, types: ["log_entry"] }).sendId("e-9");
    const beside = network.last;
    expect(beside).not.toBe(main);
    expect(beside.wantsSnapshot).toBe(true);
    expect(beside.request.after).toBeUndefined();
    main.send(line("meanwhile"), "e-10");
    beside.greet({ head: 10 }).send({ type: "snapshot", nodes: [NODE] });
    main.send(line("and then"), "e-11");
    expect(witness.types).toEqual(["gap"]);
    beside.send({ type: "snapshot", done: true }, "e-10");
    main.send(line("at last"), "e-12");
    expect(witness.types).toEqual(["gap", "snapshot", "log_entry", "log_entry", "log_entry"]);
    expect(witness.lines).toEqual(["meanwhile", "and then", "at last"]);
    expect(network.openStreams).toEqual([main]);
    expect(witness.feed.state).toBe("live");
  });

  test("is reported to onGap instead, which may fetch a snapshot or not", () => {
    const missing: unknown[] = [];
    const { network, main } = live({ onGap: (gap) => missing.push(gap) });
    main.send({ ...GAP, types: ["log_entry"] });
    expect(missing).toEqual([GAP]);
    expect(network.streams).toHaveLength(1);
  });

  test("costs no event when the snapshot fails, and the snapshot is fetched again", async () => {
    const { network, witness, main } = live();
    main
      .send({ ...GAP, types: ["log_entry"] })
      .sendId("e-9")
      .send(line("a"), "e-10");
    network.last.refuse(503, 5_000);
    expect(witness.lines).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(network.streams).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    main.send(line("b"), "e-11");
    network.last.greet().send({ type: "snapshot", done: true }, "e-11");
    expect(witness.types).toEqual(["gap", "log_entry", "snapshot", "log_entry"]);
  });

  test("begins with the shortest wait again when there is another one", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const { network, main } = live();
    for (let i = 0; i < 2; i += 1) {
      main.send({ ...GAP, types: ["log_entry"] });
      network.last.end();
      await vi.advanceTimersByTimeAsync(2_000);
      expect(network.openStreams).toHaveLength(2);
      network.last.end();
      await vi.advanceTimersByTimeAsync(4_000);
      network.last.greet().send({ type: "snapshot", done: true }, "e-9");
      main.send({ type: "ping", now: 1 });
    }
  });

  test("postpones its snapshot and holds nothing back while the feed has failed", async () => {
    const { network, witness, main } = live();
    main.send({ ...GAP, types: ["log_entry"] }).send(line("held"), "e-10");
    main.refuse(401);
    expect(witness.lines).toEqual(["held"]);
    expect(network.openStreams).toEqual([]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(network.streams).toHaveLength(2);
    witness.feed.recover();
    const recovered = network.last.greet({ head: 10 }).sendId("e-10");
    expect(network.openStreams).toEqual([recovered, network.last]);
    network.last.greet().send({ type: "snapshot", done: true }, "e-10");
    expect(witness.types).toEqual(["gap", "log_entry", "snapshot"]);
    expect(network.openStreams).toEqual([recovered]);
  });

  test("leaves no stream open in a suspended page", () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const { network, main } = live();
    main.send({ ...GAP, types: ["log_entry"] });
    page.dispatchEvent(new Event("pagehide"));
    expect(network.openStreams).toEqual([]);
    page.dispatchEvent(new Event("pageshow"));
    network.last.greet();
    expect(network.openStreams.map(({ wantsSnapshot }) => wantsSnapshot)).toEqual([false, true]);
  });

  test("holds back no more than ten thousand events, and fetches another snapshot then", async () => {
    const { network, witness, main } = live();
    main.send({ ...GAP, types: ["log_entry"] });
    for (let i = 10; i < 10_010; i += 1) main.send(line("x"), `e-${i}`);
    expect(witness.lines).toHaveLength(0);
    main.send(line("x"), "e-10010");
    expect(witness.lines).toHaveLength(10_001);
    expect(network.openStreams).toEqual([main]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.openStreams).toEqual([main, network.last]);
    network.last.greet().send({ type: "snapshot", done: true }, "e-10010");
    expect(witness.types.at(-1)).toBe("snapshot");
  });
});

describe("a reset", () => {
  test("of the server clears the position, is reported once, and a snapshot follows", async () => {
    const { network, witness, main } = live();
    main.send(line("old"), "e-5").end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet({ epoch: "f", head: 2, resumed: false }).send({ type: "reset", reason: "epoch" });
    expect(witness.feed.state).toBe("replaying");
    network.last.send({ type: "snapshot", nodes: [NODE] }).send({ type: "snapshot", done: true }, "f-2");
    network.last.send(line("new"), "f-3");
    expect(witness.types).toEqual(["log_entry", "reset", "snapshot", "log_entry"]);
    expect(witness.lines).toEqual(["old", "new"]);
    expect(witness.feed.lastEventId).toBe("f-3");
    expect(network.streams).toHaveLength(2);
  });

  test("of an id ahead of the head has the same epoch", async () => {
    const { network, witness, main } = live();
    main.send(line("old"), "e-5").end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet({ head: 2, resumed: false }).send({ type: "reset", reason: "ahead" });
    network.last.send({ type: "snapshot", done: true }, "e-2").send(line("new"), "e-3");
    expect(witness.types).toEqual(["log_entry", "reset", "snapshot", "log_entry"]);
  });

  test("ends the wait for an earlier snapshot, and held events are delivered first", async () => {
    const { network, witness, main } = live();
    main
      .send({ ...GAP, types: ["log_entry"] })
      .sendId("e-9")
      .send(line("held"), "e-10");
    const beside = network.last;
    main.sendId("e-10");
    main.end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-0");
    network.last.greet({ epoch: "f", head: 1, resumed: false }).send({ type: "reset", reason: "epoch" });
    expect(beside.isClosed).toBe(true);
    network.last.send({ type: "snapshot", done: true }, "f-1").send(line("new"), "f-2");
    expect(witness.types).toEqual(["gap", "log_entry", "reset", "snapshot", "log_entry"]);
    expect(witness.lines).toEqual(["held", "new"]);
  });

  test("that is cut before its snapshot asks for one, without an id", async () => {
    const { network, main } = live();
    main.send(line("old"), "e-5").end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet({ epoch: "f", resumed: false }).send({ type: "reset", reason: "epoch" }).end();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(network.last.wantsSnapshot).toBe(true);
    expect(network.last.request.after).toBeUndefined();
  });

  test("is reported to onReset, or to onGap if there is no onReset", async () => {
    for (const handler of ["onReset", "onGap"] as const) {
      const missing: unknown[] = [];
      const { network, main } = live({ [handler]: (reset: unknown) => missing.push(reset) });
      main.send(line("old"), "e-5").end();
      await vi.advanceTimersByTimeAsync(2_000);
      network.last.greet({ epoch: "f", resumed: false }).send({ type: "reset", reason: "epoch" });
      expect(missing).toEqual([{ type: "reset", reason: "epoch" }]);
    }
  });
});

test("a snapshot of the stream itself ends the fetch of another one", () => {
  const network = new FakeNetwork();
  const witness = new Witness(network);
  const main = network.last.greet();
  witness.feed.takeSnapshot();
  const beside = network.last.greet();
  main.send({ type: "snapshot", done: true }, "e-1").send(line("a"), "e-2");
  beside.send({ type: "snapshot", done: true }, "e-1");
  expect(witness.types).toEqual(["snapshot", "log_entry"]);
  expect(network.openStreams).toEqual([main]);
});

test("a stream that caught up while events were held back is live when they are delivered", async () => {
  const { network, witness, main } = live();
  main.send(line("a"), "e-1").end();
  await vi.advanceTimersByTimeAsync(2_000);
  const resumed = network.last.greet({ head: 9 }).send({ ...GAP, types: ["log_entry"] });
  resumed.sendId("e-9");
  expect(witness.feed.state).toBe("replaying");
  network.last.greet({ head: 9 }).send({ type: "snapshot", done: true }, "e-9");
  expect(witness.feed.state).toBe("live");
});
