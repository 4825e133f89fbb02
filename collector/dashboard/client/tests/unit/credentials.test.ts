/** The token of requests, and how a new one replaces it. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { connect } from "../../src/connect.ts";
import { Credentials } from "../../src/credentials.ts";
import { FakeNetwork, Witness } from "./fake_network.ts";

/** A collector that accepts one token. */
function collectorWith(accepted: { token: string }) {
  const sent: (string | null)[] = [];
  const request = (headers: Headers) => {
    const header = headers.get("Authorization");
    sent.push(header);
    return Promise.resolve(new Response(null, { status: header === `Bearer ${accepted.token}` ? 200 : 401 }));
  };
  return { sent, request };
}

describe("credentials", () => {
  test("ask the function once, and again after a 401 only", async () => {
    const accepted = { token: "first" };
    const { sent, request } = collectorWith(accepted);
    const provide = vi.fn(() => accepted.token);
    const credentials = new Credentials(provide);
    for (let i = 0; i < 2; i += 1) expect((await credentials.send(new Headers(), request)).status).toBe(200);
    expect(provide).toHaveBeenCalledTimes(1);
    accepted.token = "second";
    expect((await credentials.send(new Headers(), request)).status).toBe(200);
    expect(provide).toHaveBeenCalledTimes(2);
    expect(sent).toEqual(["Bearer first", "Bearer first", "Bearer first", "Bearer second"]);
  });

  test("ask once for all requests that are refused at the same time", async () => {
    const accepted = { token: "first" };
    const { request } = collectorWith(accepted);
    const provide = vi.fn(() => Promise.resolve(accepted.token));
    const credentials = new Credentials(provide);
    await credentials.send(new Headers(), request);
    accepted.token = "second";
    const answers = await Promise.all([1, 2, 3].map(() => credentials.send(new Headers(), request)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(provide).toHaveBeenCalledTimes(2);
  });

  test("return the second 401, and do not ask for a token that is a text", async () => {
    const { sent, request } = collectorWith({ token: "another" });
    expect((await new Credentials(() => "old").send(new Headers(), request)).status).toBe(401);
    expect(sent).toHaveLength(2);
    expect((await new Credentials("old").send(new Headers(), request)).status).toBe(401);
    expect(sent).toHaveLength(3);
  });

  test("send no token that is undefined: the cookie is the right then", async () => {
    const sent: boolean[] = [];
    const login = vi.fn(() => Promise.resolve(undefined));
    const response = await new Credentials(login).send(new Headers(), (headers) => {
      sent.push(headers.has("Authorization"));
      return Promise.resolve(new Response(null, { status: sent.length === 1 ? 401 : 200 }));
    });
    expect([response.status, sent, login.mock.calls.length]).toEqual([200, [false, false], 2]);
  });

  test("ask again after the function has failed", async () => {
    const provide = vi.fn().mockRejectedValueOnce(new Error("no login")).mockResolvedValue("good");
    const { request } = collectorWith({ token: "good" });
    const credentials = new Credentials(provide);
    await expect(credentials.send(new Headers(), request)).rejects.toThrow("no login");
    expect((await credentials.send(new Headers(), request)).status).toBe(200);
  });
});

describe("a feed whose token is a function", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test("tries again after its token was revoked", async () => {
    const network = new FakeNetwork();
    const witness = new Witness(network, { snapshot: false, token: () => "t" });
    network.last.greet().sendId("e-1").send({ type: "goodbye", reason: "revoked", retryMs: 3_000 }).end();
    expect(witness.feed.state).toBe("stale");
    await vi.advanceTimersByTimeAsync(3_000);
    expect(network.last.request.after).toBe("e-1");
    network.last.refuse(401);
    expect(witness.feed.state).toBe("failed");
  });

  test("tries again after the function has failed, and says why", async () => {
    const states: unknown[] = [];
    const feed = connect({
      url: "http://collector.test",
      token: () => Promise.reject(new Error("the login is down")),
      fetch: () => Promise.reject(new Error("is not called")),
      onEvent: () => {},
      onState: (state, { reason, retryInMs }) => states.push([state, reason, retryInMs !== undefined]),
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(states).toEqual([["connecting", "the login is down", true]]);
    void feed.close();
  });

  test("sends nothing when it is closed before it has the token", async () => {
    const fetch = vi.fn();
    const token = () => new Promise<string>((resolve) => setTimeout(() => resolve("late"), 1_000));
    void connect({ url: "http://collector.test", token, fetch, onEvent: () => {} }).close();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fetch).not.toHaveBeenCalled();
  });
});

test("tabs share with a function as token only under a text of the program", () => {
  const names: string[] = [];
  const request = vi.fn((name: string) => {
    names.push(name);
    return new Promise<void>(() => {});
  });
  vi.stubGlobal("navigator", { locks: { request } });
  vi.stubGlobal("document", Object.assign(new EventTarget(), { visibilityState: "visible" }));
  const options = { url: "http://c.test", token: () => "t", fetch: () => new Promise<Response>(() => {}) };
  const open = (share?: boolean | string) => void connect({ ...options, share, onEvent: () => {} }).close();
  open();
  expect(names).toEqual([]);
  expect(() => open(true)).toThrow(/share: with a function as token, give a text/);
  for (const user of ["anna", "anna", "ben"]) open(user);
  expect(names[0]).toBe(names[1]);
  expect(new Set(names).size).toBe(2);
});
