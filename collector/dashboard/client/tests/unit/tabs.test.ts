/** Several tabs of one browser with locks and channels. The test is the server. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MAX_PENDING_CALLS } from "../../src/handler_queue.ts";
import type { ConnectOptions } from "../../src/options.ts";
import { type TabChannel, type TabLocks, type TabMessage, tabName } from "../../src/tabs.ts";
import { FakeNetwork, line, Witness } from "./fake_network.ts";

/** What the tabs of one browser share. */
class FakeBrowser {
  readonly network = new FakeNetwork();
  readonly #channels = new Set<FakeChannel>();
  readonly #locks = new FakeLocks();

  open(options: Partial<ConnectOptions> = {}) {
    const tab = { isVisible: true, isFrozen: false };
    const witness = new Witness(this.network, options, {
      locks: this.#locks,
      isVisible: () => tab.isVisible,
      openChannel: (name) => {
        const channel = new FakeChannel(name, this.#channels, () => tab.isFrozen);
        this.#channels.add(channel);
        return channel;
      },
    });
    return Object.assign(tab, { witness, feed: witness.feed });
  }
}

class FakeChannel implements TabChannel {
  onmessage: TabChannel["onmessage"] = null;
  readonly #name: string;
  readonly #all: Set<FakeChannel>;
  readonly #isFrozen: () => boolean;

  constructor(name: string, all: Set<FakeChannel>, isFrozen: () => boolean) {
    this.#name = name;
    this.#all = all;
    this.#isFrozen = isFrozen;
  }

  postMessage(message: TabMessage): void {
    if (this.#isFrozen()) return;
    const data = structuredClone(message);
    for (const other of this.#all) {
      if (other === this || other.#name !== this.#name) continue;
      queueMicrotask(() => {
        if (!other.#isFrozen()) other.onmessage?.(new MessageEvent("message", { data }));
      });
    }
  }

  close(): void {
    this.onmessage = null;
    this.#all.delete(this);
  }
}

interface LockRequest {
  hold: () => Promise<void>;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

class FakeLocks implements TabLocks {
  readonly #queues = new Map<string, LockRequest[]>();

  request(name: string, options: { steal?: boolean; signal?: AbortSignal }, hold: () => Promise<void>): Promise<void> {
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    return new Promise((resolve, reject) => {
      const request = { hold, resolve, reject };
      if (options.steal === true) {
        queue.shift()?.reject(new DOMException("stolen", "AbortError"));
        queue.unshift(request);
        this.#grant(queue, request);
      } else {
        queue.push(request);
        if (queue.length === 1) this.#grant(queue, request);
      }
      options.signal?.addEventListener("abort", () => {
        // The signal ends waiting only: a held lock stays.
        if (queue[0] === request || !queue.includes(request)) return;
        queue.splice(queue.indexOf(request), 1);
        reject(options.signal?.reason);
      });
    });
  }

  #grant(queue: LockRequest[], request: LockRequest): void {
    queueMicrotask(() => {
      void request.hold().then(() => {
        request.resolve();
        if (queue[0] !== request) return;
        queue.shift();
        if (queue[0] !== undefined) this.#grant(queue, queue[0]);
      });
    });
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);

/** A browser whose first tab leads and is live at e-5. */
async function browserWithLeader(options: Partial<ConnectOptions> = {}) {
  const browser = new FakeBrowser();
  const leader = browser.open(options);
  await settle();
  const main = browser.network.last.greet({ head: 5 }).send({ type: "snapshot", done: true }, "e-5");
  return { browser, network: browser.network, leader, main };
}

/** A further tab, whose own snapshot was taken at this number. */
async function openFollower(browser: FakeBrowser, watermark: number, options: Partial<ConnectOptions> = {}) {
  const follower = browser.open(options);
  await settle();
  browser.network.last.greet({ head: watermark }).send({ type: "snapshot", done: true }, `e-${watermark}`);
  return follower;
}

describe("tabs", () => {
  test("share one stream; each gets every event once", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const follower = await openFollower(browser, 5);
    expect(network.openStreams).toEqual([main]);
    main.send(line("a"), "e-6").send(line("b"), "e-7");
    await settle();
    for (const tab of [leader, follower]) {
      expect(tab.witness.types).toEqual(["snapshot", "log_entry", "log_entry"]);
      expect(tab.witness.lines).toEqual(["a", "b"]);
      expect(tab.feed.state).toBe("live");
      expect(tab.feed.lastEventId).toBe("e-7");
    }
  });

  test("that open later fetch a snapshot of their own, and receive later events from the leader", async () => {
    const { browser, network, main } = await browserWithLeader();
    const follower = browser.open();
    await settle();
    const beside = network.last;
    expect(beside.wantsSnapshot).toBe(true);
    main.send(line("in the snapshot"), "e-6").send(line("after it"), "e-7");
    await settle();
    expect(follower.witness.events).toEqual([]);
    expect(follower.feed.state).toBe("replaying");
    beside.greet({ head: 6 }).send({ type: "snapshot", done: true }, "e-6");
    expect(follower.witness.types).toEqual(["snapshot", "log_entry"]);
    expect(follower.witness.lines).toEqual(["after it"]);
    expect(follower.feed.state).toBe("live");
    expect(network.openStreams).toEqual([main]);
  });

  test("that want no snapshot begin where the leader is", async () => {
    const browser = new FakeBrowser();
    browser.open({ snapshot: false });
    await settle();
    const main = browser.network.last.greet({ head: 5 }).sendId("e-5");
    const follower = browser.open({ snapshot: false });
    await settle();
    main.send(line("old"), "e-5").send(line("a"), "e-6");
    await settle();
    expect(browser.network.streams).toHaveLength(1);
    expect(follower.witness.lines).toEqual(["a"]);
  });

  test("hand over when the leader closes: the next one resumes at its own position", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const second = await openFollower(browser, 5);
    const third = await openFollower(browser, 5);
    main.send(line("a"), "e-6");
    await settle();
    leader.feed.close();
    await settle();
    expect(main.isClosed).toBe(true);
    expect(network.openStreams).toHaveLength(1);
    expect(network.last.request.after).toBe("e-6");
    expect(second.feed.state).toBe("live");
    network.last.greet({ head: 7 }).send(line("b"), "e-7");
    await settle();
    for (const tab of [second, third]) expect(tab.witness.lines).toEqual(["a", "b"]);
    expect(third.feed.state).toBe("live");
    expect(third.witness.states).toContain("replaying");
  });

  test("hand over to one without a state, and the others lose no event", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const late = browser.open();
    await settle();
    const beside = network.last;
    const third = await openFollower(browser, 5);
    main.send(line("a"), "e-6");
    await settle();
    leader.feed.close();
    await settle();
    expect(network.last.request.after).toBe("e-6");
    expect(network.last.wantsSnapshot).toBe(false);
    network.last.greet({ head: 7 }).send(line("b"), "e-7");
    beside.greet({ head: 6 }).send({ type: "snapshot", done: true }, "e-6");
    network.last.send({ type: "ping", now: 1 });
    await settle();
    expect(late.witness.lines).toEqual(["b"]);
    expect(late.feed.state).toBe("live");
    expect(third.witness.lines).toEqual(["a", "b"]);
    expect(third.witness.types).toEqual(["snapshot", "log_entry", "log_entry"]);
  });

  test("hand over to one that knows only the leader's position", async () => {
    const { browser, network, leader } = await browserWithLeader();
    browser.open();
    await settle();
    leader.feed.close();
    await settle();
    expect(network.last.request.after).toBe("e-5");
  });

  test("that become visible make the leader try again", async () => {
    const { browser, network, main } = await browserWithLeader();
    vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
    await openFollower(browser, 5);
    const tries = network.streams.length;
    main.end();
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(network.streams).toHaveLength(tries + 1);
  });

  test("report a state once, however often the leader sends it", async () => {
    const { browser } = await browserWithLeader();
    const second = await openFollower(browser, 5);
    await openFollower(browser, 5);
    await openFollower(browser, 5);
    expect(second.witness.states).toEqual(["replaying", "live"]);
  });

  test("that close before they have the lock do not lead", async () => {
    const browser = new FakeBrowser();
    browser.open().feed.close();
    await settle();
    expect(browser.network.streams).toEqual([]);
  });

  test("have the leader's state, and can make it try again", async () => {
    const { browser, network, main } = await browserWithLeader();
    const follower = await openFollower(browser, 5);
    main.refuse(401);
    await settle();
    expect(follower.feed.state).toBe("failed");
    expect(follower.witness.details.at(-1)).toMatchObject({ status: 401 });
    const tries = network.streams.length;
    follower.feed.recover();
    await settle();
    expect(network.streams).toHaveLength(tries + 1);
    network.last.greet({ head: 5 });
    await settle();
    expect(follower.feed.state).toBe("live");
  });

  test("all receive a reset and the leader's new snapshot", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const follower = await openFollower(browser, 5);
    main.end();
    await vi.advanceTimersByTimeAsync(2_000);
    network.last.greet({ epoch: "f", head: 1, resumed: false }).send({ type: "reset", reason: "epoch" });
    network.last.send({ type: "snapshot", done: true }, "f-1").send(line("new"), "f-2");
    await settle();
    for (const { witness } of [leader, follower]) {
      expect(witness.types).toEqual(["snapshot", "reset", "snapshot", "log_entry"]);
    }
  });

  test("ask a silent leader and replace a frozen one, which follows when it wakes", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const follower = await openFollower(browser, 5);
    leader.isFrozen = true;
    await vi.advanceTimersByTimeAsync(24_999);
    expect(network.openStreams).toEqual([main]);
    await vi.advanceTimersByTimeAsync(5_001);
    expect(network.last.request.after).toBe("e-5");
    expect(network.openStreams).toEqual([network.last]);
    leader.isFrozen = false;
    network.last.greet({ head: 6 }).send(line("a"), "e-6");
    await settle();
    expect(follower.witness.lines).toEqual(["a"]);
    expect(leader.witness.lines).toEqual(["a"]);
  });

  test("keep a leader that answers, and leave a frozen one to visible tabs", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const follower = await openFollower(browser, 5);
    // Silence alone is no reason, as long as there is an answer.
    await vi.advanceTimersByTimeAsync(24_000);
    main.send({ type: "ping", now: 1 });
    await vi.advanceTimersByTimeAsync(24_000);
    main.send({ type: "ping", now: 1 });
    await settle();
    expect(network.openStreams).toEqual([main]);
    follower.isVisible = false;
    leader.isFrozen = true;
    await vi.advanceTimersByTimeAsync(24_000);
    main.send({ type: "ping", now: 1 });
    await vi.advanceTimersByTimeAsync(24_000);
    main.send({ type: "ping", now: 1 });
    await vi.advanceTimersByTimeAsync(24_000);
    expect(network.openStreams).toEqual([main]);
  });

  test("that were suspended take the lead and receive what they missed; the others receive nothing twice", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const suspended = await openFollower(browser, 5);
    page.dispatchEvent(new Event("pagehide"));
    main.send(line("missed"), "e-6");
    await settle();
    page.dispatchEvent(new Event("pageshow"));
    main.send(line("sent before the answer"), "e-7");
    await settle();
    expect(main.isClosed).toBe(true);
    expect(network.openStreams).toEqual([network.last]);
    expect(network.last.request.after).toBe("e-5");
    network.last.greet({ head: 7 }).send(line("missed"), "e-6").send(line("sent before the answer"), "e-7");
    network.last.send(line("next"), "e-8");
    await settle();
    for (const { witness, feed } of [suspended, leader]) {
      expect(witness.lines).toEqual(["missed", "sent before the answer", "next"]);
      expect(feed.state).toBe("live");
    }
  });

  test("that were suspended follow again when they have missed nothing", async () => {
    const { browser, network, main } = await browserWithLeader();
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    const suspended = await openFollower(browser, 5);
    page.dispatchEvent(new Event("pagehide"));
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(6_000);
    page.dispatchEvent(new Event("pageshow"));
    await settle();
    main.send(line("next"), "e-6");
    await settle();
    expect(network.openStreams).toEqual([main]);
    expect(suspended.witness.lines).toEqual(["next"]);
  });

  test("that are slower than the leader lose nothing, and cost the leader nothing", async () => {
    const { browser, network, leader, main } = await browserWithLeader();
    const running: (() => void)[] = [];
    const lines: string[] = [];
    const follower = browser.open({
      onEvent: (event) => {
        if (event.type !== "log_entry") return undefined;
        lines.push(...event.entries.map((entry) => entry.line));
        return new Promise<void>((resolve) => running.push(resolve));
      },
    });
    await settle();
    network.last.greet({ head: 5 }).send({ type: "snapshot", done: true }, "e-5");
    const last = MAX_PENDING_CALLS + 20;
    for (let seq = 6; seq <= last; seq += 1) main.send(line(`${seq}`), `e-${seq}`);
    await settle();
    expect(follower.feed.state).toBe("stale");
    expect(leader.feed.state).toBe("live");
    while (running.length > 0) {
      running.shift()?.();
      await settle();
    }
    // It has missed messages, and takes the lead.
    const received = lines.length;
    expect(network.last.request.after).toBe(`e-${received + 5}`);
    network.last.greet({ head: last });
    for (let seq = received + 6; seq <= last; seq += 1) network.last.send(line(`${seq}`), `e-${seq}`);
    while (running.length > 0) {
      running.shift()?.();
      await settle();
    }
    const all = Array.from({ length: last - 5 }, (_, i) => `${i + 6}`);
    expect(lines).toEqual(all);
    expect(leader.witness.lines).toEqual(all);
  });

  test("that ask for something else, or with another right, share nothing", async () => {
    const { browser, network } = await browserWithLeader();
    for (const options of [{ types: ["log_entry"] }, { token: "other" }, { every: 0 }] as const) {
      const before = network.openStreams.length;
      browser.open(options);
      await settle();
      expect(network.openStreams).toHaveLength(before + 1);
    }
  });

  test("that close while they wait do not lead later", async () => {
    const { browser, network, leader } = await browserWithLeader();
    const second = await openFollower(browser, 5);
    const third = await openFollower(browser, 5);
    second.feed.close();
    await settle();
    leader.feed.close();
    await settle();
    network.last.greet({ head: 6 }).send(line("a"), "e-6");
    await settle();
    expect(second.witness.lines).toEqual([]);
    expect(third.witness.lines).toEqual(["a"]);
    expect(network.openStreams).toHaveLength(1);
  });
});

test("the name that tabs share does not show the token, and depends on it", () => {
  const name = tabName("http://host/", "systole_viewer_secret");
  expect(name).toMatch(/^systole-feed-2-[0-9a-f]{16}$/);
  expect(name).not.toBe(tabName("http://host/", "systole_viewer_secreu"));
  expect(tabName("a", "bc")).not.toBe(tabName("ab", "c"));
});
