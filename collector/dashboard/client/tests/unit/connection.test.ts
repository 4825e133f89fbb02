import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { backoffMs } from "../../src/backoff.ts";
import { FakeNetwork, fleetStatus, line, Witness } from "./fake_network.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

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
    const node = { nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: null } as const;
    network.last.send({ type: "snapshot", nodes: [node] });
    expect(witness.feed.state).toBe("replaying");
    network.last.send({ type: "snapshot", nodes: [node] }).send({ type: "snapshot", done: true }, "e-4");
    expect(witness.states).toEqual(["replaying", "live"]);
    expect(witness.types).toEqual(["snapshot"]);
    expect(witness.events.at(-1)).toEqual({
      type: "snapshot",
      nodes: [node, node],
      pipelines: [],
      samples: [],
      done: true,
    });
    expect(witness.feed.lastEventId).toBe("e-4");
  });

  test("without a snapshot the first id alone makes it live, and is where it goes on", async () => {
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

  test("what is shown is not stale before there was anything", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    network.last.end("refused");
    expect(witness.states).toEqual(["connecting"]);
    expect(witness.details[0]).toMatchObject({ reason: "refused" });
  });

  test("a snapshot that was cut is asked for anew, and its parts are forgotten", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    const node = { nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: null } as const;
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

  test("waits grow while streams are short, and begin anew after one of a minute", async () => {
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

  test("there is one stream at a time, whoever asks how often", async () => {
    const { network, witness } = live();
    witness.feed.recover();
    network.last.end();
    witness.feed.recover();
    witness.feed.recover();
    expect(network.openStreams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(network.streams).toHaveLength(2);
  });

  test("what the server says with retry is the least wait, and goodbye says more", async () => {
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

  test("503 with Retry-After is obeyed, also when somebody looks at the page meanwhile", async () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.refuse(503, 20_000);
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 20_000, status: 503 });
    page.show();
    expect(network.streams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(network.streams).toHaveLength(2);
  });

  test("no order makes it wait for more than an hour", () => {
    const { network, witness } = live();
    network.last.refuse(503, 86_400_000);
    expect(witness.details.at(-1)).toMatchObject({ retryInMs: 3_600_000 });
  });

  test.each([401, 403, 400, 204])("%i ends the tries, and recover begins them again", async (status) => {
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

  test("fifty tries in a row are enough, until somebody looks at the page", async () => {
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

  test("204 is for a person to overrule, not for a page that is shown", () => {
    const page = fakePage();
    const { network, witness } = live();
    network.last.refuse(204);
    page.show();
    page.goOnline();
    expect(network.streams).toHaveLength(1);
    witness.feed.recover();
    expect(network.streams).toHaveLength(2);
  });

  test("a network that is back is tried at once", () => {
    const page = fakePage();
    const { network } = live();
    network.last.end();
    page.goOnline();
    expect(network.streams).toHaveLength(2);
  });

  test("data that is no JSON is not passed over: the stream is opened again before it", async () => {
    const { network, witness } = live();
    network.last.send(line("a"), "e-1").sendText("log_entry", "{", "e-2");
    expect(witness.feed.state).toBe("stale");
    expect(network.openStreams).toEqual([]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(network.last.request.after).toBe("e-1");
  });
});

describe("the watchdog", () => {
  test("two and a half pings of silence are the end of a stream", async () => {
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

  test("a server that never answers is given up after 25 s", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network);
    await vi.advanceTimersByTimeAsync(24_999);
    expect(network.openStreams).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(witness.details.at(-1)?.reason).toContain("25 s");
  });

  test("a machine that slept finds out as soon as somebody looks", async () => {
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
  test("nothing is told and nothing tried after close", async () => {
    const poll = vi.fn();
    const { network, witness } = live({ poll });
    const told = witness.events.length;
    witness.feed.close();
    expect(network.openStreams).toEqual([]);
    network.streams[0]?.end();
    witness.feed.recover();
    witness.feed.takeSnapshot();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(network.streams).toHaveLength(1);
    expect(witness.events).toHaveLength(told);
    expect(witness.states.at(-1)).toBe("live");
    expect(poll).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("nothing is told either when the feed is closed while it is told something", () => {
    const network = new FakeNetwork();
    const witness: Witness = new Witness(network, { after: "e-0", onEvent: () => witness.feed.close() });
    network.last.greet();
    expect(witness.states).toEqual(["replaying"]);
  });

  test("a frozen page has no stream, and goes on when it is resumed", () => {
    fakePage();
    const { network } = live();
    document.dispatchEvent(new Event("resume"));
    expect(network.streams).toHaveLength(1);
    document.dispatchEvent(new Event("freeze"));
    expect(network.openStreams).toEqual([]);
    document.dispatchEvent(new Event("resume"));
    expect(network.openStreams).toHaveLength(1);
  });

  test("a page is not listened to any more", () => {
    const page = fakePage();
    const { network, witness } = live();
    witness.feed.close();
    page.dispatchEvent(new Event("pagehide"));
    page.dispatchEvent(new Event("pageshow"));
    page.show();
    expect(network.streams).toHaveLength(1);
  });

  test("a page that is put aside has no stream, and goes on where it was", () => {
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
  test("asks at once when the stream is lost, every half a minute while it is, and not while it is live", async () => {
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

  test("stops when the stream is live again", async () => {
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

  test("a first stream that does not come is polled for, and one answer is waited for at a time", async () => {
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

  test("an answer that fails is asked for again", async () => {
    const poll = vi.fn(() => Promise.reject(new Error("away")));
    const { network } = live({ poll });
    network.last.refuse(401);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(poll).toHaveBeenCalledTimes(2);
  });
});

test("a mistake in a handler is told as an uncaught one, and the next event comes all the same", () => {
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

/** A page, for whoever asks the global objects. */
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
