/** The order of calls, slow handlers, and the position that is safe to save. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MAX_PENDING_CALLS } from "../../src/handler_queue.ts";
import type { ConnectOptions } from "../../src/options.ts";
import { FakeNetwork, line, Witness } from "./fake_network.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const flush = () => vi.advanceTimersByTimeAsync(0);

/** A feed at e-0 whose handlers finish when the test says so. */
function slow(options: Partial<ConnectOptions> = {}) {
  const network = new FakeNetwork();
  const log: string[] = [];
  const running: { resolve: () => void; reject: (error: Error) => void }[] = [];
  const witness = new Witness(network, {
    snapshot: false,
    after: "e-0",
    onEvent: (event, { id }) => {
      if (event.type !== "log_entry" && event.type !== "gap" && event.type !== "snapshot") return;
      log.push(`begin ${id ?? event.type}`);
      return new Promise<void>((resolve, reject) => running.push({ resolve, reject })).finally(() =>
        log.push(`end ${id ?? event.type}`),
      );
    },
    onPosition: (id) => log.push(`position ${id}`),
    ...options,
  });
  network.last.greet({ head: 0 });
  const finish = async (error?: Error) => {
    if (error === undefined) running.shift()?.resolve();
    else running.shift()?.reject(error);
    await flush();
  };
  return { network, witness, main: network.last, log, running, finish };
}

describe("an asynchronous handler", () => {
  test("finishes before the next event's handler starts, and its position is saved between them", async () => {
    const { main, log, finish } = slow();
    main.send(line("a"), "e-1").send(line("b"), "e-2").sendId("e-5").send(line("c"), "e-6");
    await flush();
    expect(log).toEqual(["begin e-1"]);
    for (let i = 0; i < 3; i += 1) await finish();
    expect(log).toEqual([
      "begin e-1",
      "end e-1",
      "position e-1",
      "begin e-2",
      "end e-2",
      "position e-2",
      "position e-5",
      "begin e-6",
      "end e-6",
      "position e-6",
    ]);
  });

  test("delays onGap and an asynchronous onPosition in the same order", async () => {
    const log: string[] = [];
    const saves: (() => void)[] = [];
    const { main, finish } = slow({
      onGap: () => log.push("gap"),
      onPosition: (id) => {
        log.push(`save ${id}`);
        return new Promise<void>((resolve) => saves.push(resolve));
      },
    });
    main.send(line("a"), "e-1").send({ type: "gap", from: 2, to: 3, types: ["log_entry"], reason: "limit" });
    main.send(line("b"), "e-4");
    await finish();
    expect(log).toEqual(["save e-1"]);
    saves.shift()?.();
    await flush();
    await finish();
    expect(log).toEqual(["save e-1", "gap"]);
  });

  test("leaves lastEventId before the event that it handles", async () => {
    const { main, witness, finish } = slow();
    main.send(line("a"), "e-1").send(line("b"), "e-2");
    expect(witness.feed.lastEventId).toBe("e-0");
    await finish();
    expect(witness.feed.lastEventId).toBe("e-1");
  });

  test("is waited for by close, and no further event is delivered", async () => {
    const { main, witness, log, finish } = slow();
    main.send(line("a"), "e-1").send(line("b"), "e-2");
    let isClosed = false;
    void witness.feed.close().then(() => {
      isClosed = true;
    });
    await flush();
    expect(isClosed).toBe(false);
    await finish();
    expect(isClosed).toBe(true);
    expect(log).toEqual(["begin e-1", "end e-1", "position e-1"]);
  });

  test("that fails is reported, the next event is delivered, and the position stays before it", async () => {
    const uncaught = vi.fn();
    vi.stubGlobal("reportError", uncaught);
    const { main, witness, log, finish } = slow();
    main.send(line("a"), "e-1").send(line("b"), "e-2").send(line("c"), "e-3");
    await finish();
    await finish(new Error("no disk"));
    await finish();
    expect(uncaught.mock.calls).toEqual([[new Error("no disk")]]);
    expect(log.filter((text) => !text.startsWith("begin"))).toEqual(["end e-1", "position e-1", "end e-2", "end e-3"]);
    expect(witness.feed.lastEventId).toBe("e-1");
  });
});

test("a handler that throws keeps the position, too", () => {
  vi.stubGlobal("reportError", vi.fn());
  const network = new FakeNetwork();
  const positions: string[] = [];
  const witness = new Witness(network, {
    after: "e-0",
    onEvent: (event) => {
      if (event.type === "log_entry") throw new Error("a mistake");
    },
    onPosition: (id) => positions.push(id),
  });
  network.last.greet({ head: 0 }).send(line("a"), "e-1").sendId("e-9");
  expect(positions).toEqual([]);
  expect(witness.feed.lastEventId).toBe("e-0");
});

test("a snapshot beside the stream does not move the position over events that were held back", () => {
  const network = new FakeNetwork();
  const log: string[] = [];
  new Witness(network, {
    after: "e-0",
    onEvent: (event, { id }) => {
      if (event.type !== "hello" && event.type !== "gap") log.push(`${event.type} ${id}`);
    },
    onPosition: (id) => log.push(id),
  });
  const main = network.last.greet({ head: 0 });
  main.send({ type: "gap", from: 1, to: 5, types: ["status_change"], reason: "limit" }).send(line("held"), "e-6");
  network.last.greet().send({ type: "snapshot", done: true }, "e-9");
  expect(log).toEqual(["snapshot e-9", "log_entry e-6", "e-6"]);
});

describe("handlers that are too slow", () => {
  test("close the stream when ten thousand calls wait, and the next stream resumes after the last of them", async () => {
    const { network, witness, main, log, running } = slow();
    for (let seq = 1; seq <= MAX_PENDING_CALLS; seq += 1) main.send(line("x"), `e-${seq}`);
    expect(network.openStreams).toEqual([main]);
    const last = MAX_PENDING_CALLS + 1;
    main.send(line("x"), `e-${last}`).send(line("not received"), `e-${last + 1}`);
    expect(network.openStreams).toEqual([]);
    expect(witness.details.at(-1)?.reason).toContain("handlers are too slow");
    expect(witness.feed.state).toBe("stale");
    // Neither the program nor the page opens a stream before they have caught up.
    witness.feed.recover();
    expect(network.openStreams).toEqual([]);
    while (running.length > 0) {
      running.shift()?.resolve();
      await flush();
    }
    expect(log.filter((text) => text.startsWith("begin"))).toHaveLength(last);
    expect(network.openStreams).toEqual([network.last]);
    expect(network.last.request.after).toBe(`e-${last}`);
    network.last.greet({ head: last + 1 }).send(line("received now"), `e-${last + 1}`);
    expect(witness.feed.state).toBe("live");
    expect(log.at(-1)).toBe(`begin e-${last + 1}`);
  });

  test("fetch the snapshot of a gap after they have caught up", async () => {
    const { network, witness, main, running } = slow();
    main.send({ type: "gap", from: 1, to: 5, types: ["status_change"], reason: "limit" });
    const beside = network.last;
    expect(beside.wantsSnapshot).toBe(true);
    for (let seq = 6; seq < MAX_PENDING_CALLS + 6; seq += 1) main.send(line("x"), `e-${seq}`);
    beside.refuse(503);
    main.send(line("x"), `e-${MAX_PENDING_CALLS + 6}`);
    expect(network.openStreams).toEqual([]);
    while (running.length > 0) {
      running.shift()?.resolve();
      await flush();
    }
    network.last.greet({ head: MAX_PENDING_CALLS + 6 }).sendId(`e-${MAX_PENDING_CALLS + 6}`);
    expect(witness.feed.state).toBe("live");
    expect(network.last.wantsSnapshot).toBe(true);
  });
});
