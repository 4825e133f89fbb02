import { describe, expect, test, vi } from "vitest";
import { connect } from "../../src/connect.ts";
import { Credentials } from "../../src/credentials.ts";
import { fetchTransport } from "../../src/fetch_transport.ts";
import { streamUrls } from "../../src/options.ts";
import { parseRetryAfter } from "../../src/refusal.ts";
import type { StreamEnd } from "../../src/transport.ts";

const URL_OF_FEED = new URL("http://collector.test/api/v1/events");
const STREAM = { headers: { "Content-Type": "text/event-stream" } };

/** Reads one stream to its end and returns its calls. */
async function read(answer: Response | Error, { token, after }: { token?: string; after?: string } = {}) {
  const calls: unknown[] = [];
  const fetch = vi.fn<typeof globalThis.fetch>(() =>
    answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer),
  );
  const open = fetchTransport({ credentials: new Credentials(token), client: "test/1", fetch });
  const end = await new Promise<StreamEnd>((resolve) => {
    open(
      { url: URL_OF_FEED, after },
      {
        onOpen: () => calls.push("open"),
        onActivity: () => {},
        onEvent: (event) => calls.push(event),
        onId: (id) => calls.push({ id }),
        onRetry: (retry) => calls.push({ retry }),
        onEnd: resolve,
      },
    );
  });
  return { calls, end, headers: new Headers(fetch.mock.calls[0]?.[1]?.headers), init: fetch.mock.calls[0]?.[1] };
}

describe("a stream over fetch", () => {
  test("reports what it receives, and sends name, token and position", async () => {
    const body = "retry: 5\n\nid: e-1\nevent: ping\ndata: {}\n\nid: e-2\n\n";
    const { calls, end, headers, init } = await read(new Response(body, STREAM), { token: "secret", after: "e-0" });
    expect(calls).toEqual([
      "open",
      { retry: 5 },
      { type: "ping", data: "{}", id: "e-1", inherited: false },
      { id: "e-2" },
    ]);
    expect(end).toEqual({ kind: "ended", reason: "the stream ended" });
    expect(Object.fromEntries(headers)).toEqual({
      accept: "text/event-stream",
      authorization: "Bearer secret",
      "last-event-id": "e-0",
      "x-systole-client": "test/1",
    });
    expect(init?.cache).toBe("no-store");
  });

  test("sends no token and no position that it does not have", async () => {
    const { headers } = await read(new Response("", STREAM));
    expect([...headers.keys()]).toEqual(["accept", "x-systole-client"]);
  });

  test("reports why it was refused, in the collector's words, and when to try again", async () => {
    const problem = { status: 503, title: "Service Unavailable", detail: "too many connections" };
    const headers = { "Content-Type": "application/problem+json", "Retry-After": "7" };
    const { end } = await read(new Response(JSON.stringify(problem), { status: 503, headers }));
    expect(end).toEqual({
      kind: "refused",
      status: 503,
      reason: "HTTP 503: too many connections",
      retryAfterMs: 7_000,
    });
  });

  test("cancels an answer that it does not read", async () => {
    for (const init of [{ status: 502 }, { headers: { "Content-Type": "text/html" } }]) {
      const cancel = vi.fn();
      await read(new Response(new ReadableStream({ cancel }), init));
      expect(cancel).toHaveBeenCalledTimes(1);
    }
  });

  test("makes no call after it is closed, for the rest of the same bytes or for an end", async () => {
    const calls: string[] = [];
    const body = "data: 1\n\ndata: 2\n\nid: 3\n\nretry: 4\n";
    const fetch = () => Promise.resolve(new Response(body, STREAM));
    const open = fetchTransport({ credentials: new Credentials(undefined), client: "test/1", fetch });
    const close = open(
      { url: URL_OF_FEED, after: undefined },
      {
        onOpen: () => {},
        onActivity: () => {},
        onEvent: ({ data }) => {
          calls.push(data);
          close();
        },
        onId: (id) => calls.push(id),
        onRetry: (ms) => calls.push(String(ms)),
        onEnd: ({ reason }) => calls.push(reason),
      },
    );
    await vi.waitFor(() => expect(calls).not.toEqual([]));
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(calls).toEqual(["1"]);
  });

  test("treats an answer without content as a refusal", async () => {
    const { end } = await read(new Response(null, { status: 204 }));
    expect(end).toMatchObject({ kind: "refused", status: 204 });
  });

  test("does not treat a page as a stream", async () => {
    const { calls, end } = await read(
      new Response("data: a\n\n", { headers: { "Content-Type": "text/html; charset=utf-8" } }),
    );
    expect(calls).toEqual([]);
    expect(end.reason).toContain("text/html");
  });

  test("ends when the network does", async () => {
    const { end } = await read(new TypeError("fetch failed"));
    expect(end).toEqual({ kind: "ended", reason: "fetch failed" });
  });
});

test("Retry-After is seconds or a date", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  expect(parseRetryAfter("120", now)).toBe(120_000);
  expect(parseRetryAfter("Sat, 21 Nov 2026 12:00:30 GMT", now)).toBe(30_000);
  expect(parseRetryAfter("Sat, 21 Nov 2026 11:00:00 GMT", now)).toBe(0);
  expect(parseRetryAfter("soon", now)).toBeUndefined();
  expect(parseRetryAfter(null, now)).toBeUndefined();
});

test("tabs share in pages, unless the feed resumes at an id or share is false", () => {
  const request = vi.fn(() => new Promise<void>(() => {}));
  vi.stubGlobal("navigator", { locks: { request } });
  const options = { url: "http://collector.test", fetch: () => new Promise<Response>(() => {}), onEvent: () => {} };
  connect(options).close();
  expect(request).not.toHaveBeenCalled();
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
  connect({ ...options, after: "e-1" }).close();
  connect({ ...options, share: false }).close();
  expect(request).not.toHaveBeenCalled();
  connect(options).close();
  expect(request).toHaveBeenCalledTimes(1);
});

describe("options", () => {
  const onEvent = () => {};

  test("become the address of the stream", () => {
    const options = {
      url: "https://host/behind/a/proxy/",
      types: ["status_change", "log_entry"],
      environment: "prod & more",
      nodes: ["n1", "n2"],
      pipelines: ["orders"],
      every: 0,
      onEvent,
    } as const;
    expect(streamUrls(options)[0]?.href).toBe(
      "https://host/behind/a/proxy/api/v1/events?types=status_change%2Clog_entry&environment=prod+%26+more&node=n1&node=n2&pipeline=orders&every=0",
    );
    expect(streamUrls({ url: "http://host", onEvent })[0]?.href).toBe("http://host/api/v1/events");
    expect(streamUrls({ url: "http://host/api/v1/events", onEvent })[0]?.href).toBe("http://host/api/v1/events");
  });

  test("in a page an address may be relative to it", () => {
    vi.stubGlobal("location", { href: "https://host/dashboard/" });
    expect(streamUrls({ url: "/", onEvent })[0]?.href).toBe("https://host/api/v1/events");
  });

  test("that contradict each other are errors of connect", () => {
    expect(() => connect({ url: "nowhere", onEvent })).toThrow();
    expect(() => connect({ url: "http://host", types: ["logs" as "log_entry"], onEvent })).toThrow(
      /invalid type "logs"/,
    );
    expect(() => connect({ url: "http://host", mode: "eventsource", token: "t", onEvent })).toThrow(/cannot send/);
    expect(() => connect({ url: "http://host", mode: "eventsource", onEvent })).toThrow(/no EventSource here/);
  });
});
