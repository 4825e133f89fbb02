/** Several collectors of a cluster. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Addresses } from "../../src/addresses.ts";
import { QueryClient } from "../../src/query_client.ts";
import { FakeNetwork, line, Witness } from "./fake_network.ts";

const URLS = ["http://a", "http://b", "http://c"];

test("addresses take turns, and a wait comes after a whole round", () => {
  const addresses = new Addresses(URLS.map((url) => new URL(url)));
  const moveOn = (hadAnswered: boolean) => addresses.moveOn(hadAnswered, () => 1);
  expect([moveOn(false), moveOn(false), moveOn(false)]).toEqual([500, 500, undefined]);
  expect(addresses.inUse.host).toBe("a");
  expect([moveOn(false), moveOn(true), moveOn(false), moveOn(false)]).toEqual([500, 500, 500, undefined]);
  expect(() => new Addresses([])).toThrow(TypeError);
});

describe("a feed", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function feed() {
    const network = new FakeNetwork();
    const witness = new Witness(network, { snapshot: false, url: URLS });
    network.last.greet().sendId("e-0");
    const hosts = () => network.streams.map((stream) => stream.request.url.host);
    return { network, witness, hosts };
  }

  test("resumes at the next address within half a second", async () => {
    const { network, witness, hosts } = feed();
    network.last.send(line("x"), "e-1").end();
    await vi.advanceTimersByTimeAsync(500);
    expect(hosts()).toEqual(["a", "b"]);
    expect(network.last.request.after).toBe("e-1");
    network.last.greet({ head: 1 });
    expect(witness.feed.state).toBe("live");
  });

  test("goes on after a goodbye, a 503 and silence, and waits after all have failed", async () => {
    const { network, hosts } = feed();
    network.last.send({ type: "goodbye", reason: "shutdown", retryMs: 60_000 } as never).end();
    await vi.advanceTimersByTimeAsync(500);
    network.last.refuse(503, 30_000);
    await vi.advanceTimersByTimeAsync(500);
    expect(hosts()).toEqual(["a", "b", "c"]);
    // Nothing is answered.
    await vi.advanceTimersByTimeAsync(5_100);
    expect(network.last.isClosed).toBe(true);
    expect(hosts().length).toBe(3);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(hosts()).toEqual(["a", "b", "c", "a"]);
  });

  test("does not take a refused token elsewhere", async () => {
    const { network, witness, hosts } = feed();
    network.last.end();
    await vi.advanceTimersByTimeAsync(500);
    network.last.refuse(403);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([witness.feed.state, hosts()]).toEqual(["failed", ["a", "b"]]);
  });
});

test("queries go to the next address, and the next query begins there", async () => {
  const hosts: string[] = [];
  const fetch = (async (url: URL) => {
    hosts.push(url.host);
    if (url.host === "a") throw new TypeError("fetch failed");
    const headers = { "Content-Type": "application/json" };
    return new Response(url.host === "b" ? "" : '{"items":[],"next":null}', {
      status: url.host === "b" ? 503 : 200,
      headers,
    });
  }) as typeof globalThis.fetch;
  const queries = new QueryClient({ url: URLS, fetch });
  await queries.nodes();
  await queries.nodes();
  expect(hosts).toEqual(["a", "b", "c", "c"]);
  const one = new QueryClient({ url: "http://b", fetch });
  await expect(one.nodes()).rejects.toMatchObject({ status: 503 });
});
