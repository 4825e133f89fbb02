import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { backoffMs } from "../../src/backoff.ts";
import { FakeNetwork, fleetStatus, line, Witness } from "./fake_network.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** The last totals, which a snapshot begins with. */
const TOTALS = {
  environmentId: "env",
  timestamp: 1,
  nodes: { HEALTHY: 1 },
  pipelines: {},
  eventsInRate: 5,
  eventsOutRate: 5,
  errorsRate: 0,
  discardedRate: 0,
};

/** A feed without a snapshot that is live at e-0. */
function live(options: ConstructorParameters<typeof Witness>[1] = {}) {
  const network = new FakeNetwork();
  const witness = new Witness(network, { snapshot: false, ...options });
  network.last.greet().sendId("e-0");
  expect(witness.feed.state).toBe("live");
  return { network, witness };
}

describe("states", () => {
  test("a snapshot is replayed, and live is what follows its last part", () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    expect(witness.feed.state).toBe("connecting");
    expect(network.last.wantsSnapshot).toBe(true);
    network.last.greet({ head: 4 });
    const node = { nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: null, maintenanceUntil: null } as const;
    network.last.send({ type: "snapshot", totals: [TOTALS] }).send({ type: "snapshot", nodes: [node] });
    expect(witness.feed.state).toBe("replaying");
    network.last.send({ type: "snapshot", nodes: [node] }).send({ type: "snapshot", done: true }, "e-4");
    expect(witness.states).toEqual(["replaying", "live"]);
    expect(witness.types).toEqual(["snapshot"]);
    expect(witness.events.at(-1)).toEqual({
      type: "snapshot",
      nodes: [node, node],
      pipelines: [],
      samples: [],
      totals: [TOTALS],
      done: true,
    });
    expect(witness.feed.lastEventId).toBe("e-4");
  });

  test("a snapshot of nodes is asked for by its name", () => {
    const network = new FakeNetwork();
    new Witness(network, { snapshot: "nodes" });
    expect(network.last.request.url.searchParams.get("snapshot")).toBe("nodes");
  });

  test("without a snapshot the first id alone makes it live, and it resumes there", async () => {
    const { network } = live();
    expect(network.last.wantsSnapshot).toBe(false);
    network.last.end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-0");
  });

  test("a stream that was cut is stale, then replays what was missed, then is live", async () => {
    const { network, witness } = live();
    network.last.send(line("a"), "e-1").end();
    expect(witness.feed.state).toBe("stale");
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet({ head: 3 });
    expect(network.last.request.after).toBe("e-1");
    network.last.send(line("b"), "e-2");
    expect(witness.feed.state).toBe("replaying");
    network.last.send(line("c"), "e-3");
    expect(witness.states.slice(-3)).toEqual(["stale", "replaying", "live"]);
    expect(witness.lines).toEqual(["a", "b", "c"]);
  });

  test("a feed is not stale before its first stream", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    network.last.end("refused");
    expect(witness.states).toEqual(["connecting"]);
    expect(witness.details[0]).toMatchObject({ reason: "refused" });
  });

  test("a snapshot that was cut is fetched again, without its first parts", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    const node = { nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: null, maintenanceUntil: null } as const;
    network.last
      .greet()
      .send({ type: "snapshot", nodes: [node] })
      .end();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.wantsSnapshot).toBe(true);
    expect(network.last.request.after).toBeUndefined();
    network.last.greet().send({ type: "snapshot", done: true }, "e-1");
    expect(witness.events.at(-1)).toMatchObject({ type: "snapshot", nodes: [] });
  });
});

describe("trying again", () => {
  test("the back-off doubles from a second to half a minute, its upper half at random", () => {
    const bounds = [1, 2, 3, 4, 5, 6, 50].map((failures) => [
      backoffMs(failures, () => 0),
      backoffMs(failures, () => 1),
    ]);
    expect(bounds).toEqual([
      [1_000, 2_000],
      [2_000, 4_000],
      [4_000, 8_000],
      [8_000, 16_000],
      [15_000, 30_000],
      [15_000, 30_000],
      [15_000, 30_000],
    ]);
  });

  test("waits grow while streams are short, and are short again after a stream of a minute", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const { network, witness } = live();
    const waits = () => witness.details.map(({ retryInMs }) => retryInMs).filter((ms) => ms !== undefined);
    network.last.end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.end();
    await vi.advanceTimersByTimeAsync(4_000);
    network.last.greet();
    for (let i = 0; i < 6; i += 1) {
      await vi.advanceTimersByTimeAsync(9_999);
      network.last.send({ type: "ping", now: 0 });
    }
    network.last.end();
    await vi.advanceTimersByTimeAsync(8_000);
    network.last.greet();
    for (let i = 0; i < 6; i += 1) {
      await vi.advanceTimersByTimeAsync(10_000);
      network.last.send({ type: "ping", now: 0 });
    }
    network.last.end();
    expect(waits()).toEqual([2_000, 4_000, 8_000, 2_000]);
  });

  test("there is one stream at a time, however often recover is called", async () => {
    const { network, witness } = live();
    witness.feed.recover();
    network.last.end();
    witness.feed.recover();
    witness.feed.recover();
    expect(network.openStreams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(network.streams).toHaveLength(2);
  });

  test("retry is the shortest wait, and goodbye may ask for more", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const { network, witness } = live();
    network.last.retry(7_000).end();
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 7_000 });
    await vi.advanceTimersByTimeAsync(7_000);
    network.last.greet().send({ type: "goodbye", reason: "shutdown", retryMs: 11_000 }).end();
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 11_000, reason: expect.stringContaining("shutdown") });
    await vi.advanceTimersByTimeAsync(11_000);
    network.last.end();
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 7_000 });
  });

  test("the wait of Retry-After is kept when the page becomes visible", async () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.refuse(503, 20_000);
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 20_000, status: 503 });
    page.show();
    expect(network.streams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(network.streams).toHaveLength(2);
  });

  test("a wait of the server is at most an hour", () => {
    const { network, witness } = live();
    network.last.refuse(503, 86_400_000);
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 3_600_000 });
  });

  test.each([401, 403, 400, 204])("%i ends the attempts, and recover begins again", async (status) => {
    const { network, witness } = live();
    network.last.refuse(status);
    expect(witness.feed.state).toBe("failed");
    expect(witness.details.at(-1)).toMatchObject({ status });
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(network.streams).toHaveLength(1);
    witness.feed.recover();
    network.last.greet();
    expect(network.streams).toHaveLength(2);
    expect(witness.states.slice(-4)).toEqual(["failed", "stale", "replaying", "live"]);
  });

  test("a token that was revoked fails at once", () => {
    const { network, witness } = live();
    network.last.send({ type: "goodbye", reason: "revoked", retryMs: 3_000 }).end();
    expect(witness.feed.state).toBe("failed");
  });

  test("after fifty attempts in a row it stops, until the page becomes visible", async () => {
    const page = fakePage();
    const network = new FakeNetwork();
    const witness = new Witness(network);
    for (let i = 1; i <= 50; i += 1) {
      expect(network.streams).toHaveLength(i);
      expect(witness.feed.state).toBe("connecting");
      network.last.end("no way");
      await vi.advanceTimersToNextTimerAsync();
    }
    expect(network.streams).toHaveLength(50);
    expect(witness.feed.state).toBe("failed");
    page.show();
    expect(network.streams).toHaveLength(51);
    network.last.end();
    expect(witness.feed.state).toBe("connecting");
  });

  test("after 204 only recover tries again", () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.refuse(204);
    page.show();
    page.goOnline();
    expect(network.streams).toHaveLength(1);
    witness.feed.recover();
    expect(network.streams).toHaveLength(2);
  });

  test("when the network is back it tries at once", () => {
    const page = fakePage();
    const { network } = live();
    network.last.end();
    page.goOnline();
    expect(network.streams).toHaveLength(2);
  });

  test("data that is not JSON is not skipped: the next stream resumes before it", async () => {
    const { network, witness } = live();
    network.last.send(line("a"), "e-1").sendText("log_entry", "{", "e-2");
    expect(witness.feed.state).toBe("stale");
    expect(network.openStreams).toEqual([]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-1");
  });
});

describe("the watchdog", () => {
  test("a silence of two and a half pings ends a stream", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network, { snapshot: false });
    network.last.greet({ pingMs: 2_000 }).sendId("e-0");
    await vi.advanceTimersByTimeAsync(4_999);
    expect(witness.feed.state).toBe("live");
    network.last.send({ type: "ping", now: 0 });
    await vi.advanceTimersByTimeAsync(4_999);
    expect(witness.feed.state).toBe("live");
    await vi.advanceTimersByTimeAsync(1);
    expect(witness.feed.state).toBe("stale");
    expect(network.openStreams).toEqual([]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.openStreams).toHaveLength(1);
  });

  test("an attempt without an answer ends after 25 s", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    await vi.advanceTimersByTimeAsync(24_999);
    expect(network.openStreams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(witness.details.at(-1)?.reason).toContain("25 s");
  });

  test("a machine that slept reconnects when the page becomes visible", async () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.retry(8_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    page.show();
    expect(network.streams).toHaveLength(2);
    expect(network.streams[0]?.isClosed).toBe(true);
    expect(witness.feed.state).toBe("stale");
  });
});

describe("ending", () => {
  test("after close nothing is reported and nothing is tried", async () => {
    const poll = vi.fn();
    const { network, witness } = live({ poll });
    const calls = witness.events.length;
    witness.feed.close();
    expect(network.openStreams).toEqual([]);
    network.streams[0]?.end();
    witness.feed.recover();
    witness.feed.takeSnapshot();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(network.streams).toHaveLength(1);
    expect(witness.events).toHaveLength(calls);
    expect(witness.states.at(-1)).toBe("live");
    expect(poll).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("nothing is reported after a handler closes the feed", () => {
    const network = new FakeNetwork();
    const witness: Witness = new Witness(network, { after: "e-0", onEvent: () => witness.feed.close() });
    network.last.greet();
    expect(witness.states).toEqual(["replaying"]);
  });

  test("a frozen page has no stream, and resumes", () => {
    fakePage();
    const { network } = live();
    document.dispatchEvent(new Event("resume"));
    expect(network.streams).toHaveLength(1);
    document.dispatchEvent(new Event("freeze"));
    expect(network.openStreams).toEqual([]);
    document.dispatchEvent(new Event("resume"));
    expect(network.openStreams).toHaveLength(1);
  });

  test("close removes the listeners of the page", () => {
    const page = fakePage();
    const { network, witness } = live();
    witness.feed.close();
    page.dispatchEvent(new Event("pagehide"));
    page.dispatchEvent(new Event("pageshow"));
    page.show();
    expect(network.streams).toHaveLength(1);
  });

  test("a suspended page has no stream, and resumes at its position", () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.send(fleetStatus(), "e-5");
    page.dispatchEvent(new Event("pagehide"));
    expect(network.openStreams).toEqual([]);
    page.dispatchEvent(new Event("pageshow"));
    expect(witness.feed.state).toBe("stale");
    expect(network.last.request.after).toBe("e-5");
    network.last.end();
    page.dispatchEvent(new Event("pageshow"));
    expect(network.openStreams).toEqual([]);
  });
});

describe("polling", () => {
  test("begins when the stream is lost, repeats every half a minute, and ends when it is live", async () => {
    const poll = vi.fn();
    const { network } = live({ poll });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(poll).not.toHaveBeenCalled();
    network.last.refuse(401);
    expect(poll).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(poll).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(poll).toHaveBeenCalledTimes(4);
  });

  test("ends when the stream is live again", async () => {
    const poll = vi.fn();
    const { network } = live({ poll });
    network.last.end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet();
    for (let i = 0; i < 9; i += 1) {
      await vi.advanceTimersByTimeAsync(10_000);
      network.last.send({ type: "ping", now: 0 });
    }
    expect(poll).toHaveBeenCalledTimes(1);
    network.last.end();
    expect(poll).toHaveBeenCalledTimes(2);
  });

  test("also begins without a first stream, with one call at a time", async () => {
    const answers: (() => void)[] = [];
    const poll = vi.fn(() => new Promise<void>((resolve) => answers.push(resolve)));
    const network = new FakeNetwork();
    new Witness(network, { poll });
    network.last.greet({ head: 9 });
    for (let i = 0; i < 12; i += 1) {
      await vi.advanceTimersByTimeAsync(10_000);
      network.last.send({ type: "ping", now: 0 });
    }
    expect(poll).toHaveBeenCalledTimes(1);
    answers[0]?.();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(poll).toHaveBeenCalledTimes(2);
  });

  test("is repeated after a failure", async () => {
    const poll = vi.fn(() => Promise.reject(new Error("away")));
    const { network } = live({ poll });
    network.last.refuse(401);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(poll).toHaveBeenCalledTimes(2);
  });
});

test("an error in a handler is reported as an uncaught one, and the next event is delivered", () => {
  const uncaught = vi.fn();
  vi.stubGlobal("reportError", uncaught);
  const heard: string[] = [];
  const network = new FakeNetwork();
  new Witness(network, {
    snapshot: false,
    onEvent: (event) => {
      heard.push(event.type);
      throw new Error(event.type);
    },
  });
  network.last.greet().sendId("e-0").send(line("a"), "e-1");
  expect(heard).toEqual(["hello", "log_entry"]);
  expect(uncaught).toHaveBeenCalledTimes(2);
});

/** A page, as global objects. */
function fakePage() {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("document", document);
  return Object.assign(page, {
    show: () => document.dispatchEvent(new Event("visibilitychange")),
    goOnline: () => page.dispatchEvent(new Event("online")),
  });
}
