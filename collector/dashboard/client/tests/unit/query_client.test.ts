/** Queries whose answers the test makes. Those of a real collector are in tests/collector. */

import { describe, expect, test, vi } from "vitest";
import { allItems, QueryClient, QueryError } from "../../src/query_client.ts";

function clientWith(...answers: (Response | Error)[]) {
  const fetch = vi.fn<typeof globalThis.fetch>(() => {
    const answer = answers.shift() ?? new Error("no further answer");
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  });
  const queries = new QueryClient({ url: "https://host/behind/a/proxy/", token: "secret", client: "test/1", fetch });
  const requests = () => fetch.mock.calls.map(([url, init]) => ({ url: String(url), init }));
  return { queries, requests };
}

function json(body: unknown, status = 200, type = "application/json", headers: Record<string, string> = {}) {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": type, ...headers } });
}

const NOTHING = { items: [], next: null };

async function errorOf(promise: Promise<unknown>): Promise<QueryError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(error instanceof QueryError)) throw new Error(`not a QueryError: ${String(error)}`);
  return error;
}

describe("a query", () => {
  test("has its path, parameters, token and the program's name", async () => {
    const { queries, requests } = clientWith(json(NOTHING), json(NOTHING), json(NOTHING));
    await queries.logs({ pipeline: "a & b", level: "WARN", from: 5, ...{ to: undefined } });
    await queries.pipelineMinutes("a/b ü", { step: "hour" });
    const [logs, minutes] = requests();
    expect(logs?.url).toBe("https://host/behind/a/proxy/api/v1/logs?pipeline=a+%26+b&level=WARN&from=5");
    expect(minutes?.url).toBe("https://host/behind/a/proxy/api/v1/pipelines/a%2Fb%20%C3%BC/minutes?step=hour");
    await queries.fleetNodes({ label: ["site:lab", "!canary"], status: ["DEGRADED", "OFFLINE"] });
    expect(requests()[2]?.url).toMatch(/\?label=site%3Alab&label=%21canary&status=DEGRADED&status=OFFLINE$/);
    expect(Object.fromEntries(new Headers(logs?.init?.headers))).toEqual({
      accept: "application/json",
      authorization: "Bearer secret",
      "x-systole-client": "test/1",
    });
  });

  test("rejects with the collector's problem", async () => {
    const problem = { type: "about:blank", title: "Bad Request", status: 400, detail: "limit: 0 is not between …" };
    const error = await errorOf(clientWith(json(problem, 400, "application/problem+json")).queries.nodes({ limit: 0 }));
    expect(error).toMatchObject({ name: "QueryError", status: 400, problem, retryAfterMs: undefined });
    expect(error.message).toBe("HTTP 400: limit: 0 is not between …");
  });

  test("rejects with the wait that the collector asks for", async () => {
    const headers = { "Retry-After": "7" };
    const problem = { type: "about:blank", title: "Unavailable", status: 503, detail: "stopping" };
    const answer = json(problem, 503, "application/problem+json", headers);
    expect(await errorOf(clientWith(answer).queries.nodes())).toMatchObject({ status: 503, retryAfterMs: 7_000 });
  });

  test("rejects without a problem when something else has answered", async () => {
    const page = (status: number) => new Response("<p>login", { status, headers: { "Content-Type": "text/html" } });
    expect(await errorOf(clientWith(page(502)).queries.nodes())).toMatchObject({ status: 502, problem: undefined });
    const login = await errorOf(clientWith(page(200)).queries.nodes());
    expect(login.message).toBe("the answer is text/html, not JSON");
  });

  test("rejects with the network's error, and with the reason of its signal", async () => {
    await expect(clientWith(new TypeError("fetch failed")).queries.nodes()).rejects.toThrow("fetch failed");
    const { queries, requests } = clientWith();
    const signal = AbortSignal.abort(new Error("not needed any more"));
    await expect(queries.nodes({}, { signal })).rejects.toThrow("not needed any more");
    expect(requests()).toEqual([]);
  });

  test("of an invalid address is a mistake that the constructor reports", () => {
    expect(() => new QueryClient({ url: "nowhere" })).toThrow(TypeError);
  });
});

test("all items of a list come page after page, and no page is asked for before its items are needed", async () => {
  const pages = [
    { items: [1, 2], next: "x.1" },
    { items: [], next: "x.2" },
    { items: [3], next: null },
  ];
  const cursors: unknown[] = [];
  const items = allItems((cursor) => {
    cursors.push(cursor);
    return Promise.resolve(pages[cursors.length - 1] ?? NOTHING);
  });
  expect((await items.next()).value).toBe(1);
  expect(cursors).toEqual([{}]);
  const rest: unknown[] = [];
  for await (const item of items) rest.push(item);
  expect(rest).toEqual([2, 3]);
  expect(cursors).toEqual([{}, { cursor: "x.1" }, { cursor: "x.2" }]);
});
