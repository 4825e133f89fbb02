/** Four parsers read the same from the bytes of the real feed: this library's, two of npm, and Chromium's EventSource. */

import { createServer, type Server } from "node:http";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EventStreamParser } from "../../src/index.ts";
import { CONTROL_TYPES, EVENT_TYPES } from "../../src/wire.ts";
import { Chromium } from "../harness/chromium.ts";
import { TestCollector } from "../harness/collector.ts";

/** As an EventSource shows it. */
type Seen = [type: string, data: string, lastEventId: string];

const TYPES = [...EVENT_TYPES, ...CONTROL_TYPES];

const CONFLATED_WITHOUT_ID = /\n\nevent: (fleet_status|metric_update)\n/;

const recordings: { name: string; bytes: Buffer }[] = [];

beforeAll(async () => {
  const collector = await TestCollector.start();
  try {
    const { token } = await collector.createToken("viewer");
    const node = await collector.enroll("hôte-東京");
    const record = (query: string, isDone: (text: string) => boolean) =>
      recordUntil(`${collector.url}/api/v1/events?${query}`, token, isDone);
    await node.report({ id: "a", events: { in: 500, out: 250 } });
    // A filter that lets little through has ids alone, and pings beside.
    const quiet = record("types=log_entry&pipeline=quiet", (text) =>
      /\nid: [a-z0-9]+-[0-9]+\n\nevent: ping/.test(text),
    );
    const busy = record("snapshot=1&every=0", (text) => text.includes("the last line"));
    const long = `${'äöü€—😀🫀\u2028\\n\\r"{}'.repeat(2_500)} end`;
    for (let i = 0; i < 10; i += 1) {
      await node.report({
        id: "a",
        lines: [`line ${i} \t\r € 😀 \u0085 \uFEFF`, "data: x", ": c", " ", long],
        events: { in: i, out: i },
      });
    }
    const pipelines = (status: string) => Array.from({ length: 1_000 }, (_, i) => ({ id: `p${i}`, status }));
    for (let i = 0; i < 11; i += 1) await node.report(...pipelines(i % 2 === 0 ? "DEGRADED" : "RUNNING"));
    await node.report({ id: "a", lines: ["the last line"] });
    recordings.push({ name: "a snapshot and what follows", bytes: await busy });
    recordings.push({ name: "pings and ids alone", bytes: await quiet });
    // Durable events are sent at once. Conflated events that wait have lower ids then, and are sent without.
    let isRecorded = false;
    const waiting = record("every=500", (text) => CONFLATED_WITHOUT_ID.test(text)).finally(() => {
      isRecorded = true;
    });
    const other = await collector.enroll("other");
    for (let i = 0; !isRecorded; i += 1) {
      await other.report({ id: "b", events: { in: i, out: i } });
      await node.report({ id: "a", lines: [`${i}`] });
    }
    recordings.push({ name: "events without ids", bytes: await waiting });
    const from = /"epoch":"([a-z0-9]+)"/.exec(recordings[0]?.bytes.toString() ?? "")?.[1];
    await collector.kill();
    await collector.startAgain();
    const replay = await record(`after=${from}-1&types=status_change`, (text) => text.includes("event: gap"));
    recordings.push({ name: "a replay with a gap", bytes: replay });
  } finally {
    await collector.remove();
  }
});

/** The stream's bytes until they say something, cut wherever that is. */
async function recordUntil(url: string, token: string, isDone: (text: string) => boolean): Promise<Buffer> {
  const abort = new AbortController();
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(url, { headers, signal: abort.signal });
  const chunks: Uint8Array[] = [];
  let text = "";
  for await (const chunk of answer.body ?? []) {
    chunks.push(chunk);
    // The text may lie across two chunks.
    text = text.slice(-1_000) + Buffer.from(chunk).toString();
    if (isDone(text)) break;
  }
  abort.abort();
  return Buffer.concat(chunks);
}

/** The same bytes in pieces of every size from one to a hundred. */
function* pieces(bytes: Buffer): Generator<Uint8Array> {
  for (let at = 0, size = 1; at < bytes.length; size = (size % 100) + 1) {
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

/** `inherits`: an event without an id shows the last one before it, as the standard says; else none. */
function byOurParser(chunks: Iterable<Uint8Array>, { inherits } = { inherits: true }): Seen[] {
  const seen: Seen[] = [];
  let last = "";
  const parser = new EventStreamParser({
    onEvent: ({ type, data, id }) => {
      last = id ?? (inherits ? last : "");
      seen.push([type, data, last]);
    },
    onId: (id) => {
      last = id;
    },
  });
  for (const chunk of chunks) parser.push(chunk);
  return seen;
}

function byEventSourceParser(chunks: Iterable<Uint8Array>): Seen[] {
  const seen: Seen[] = [];
  const decoder = new TextDecoder();
  const parser = createParser({ onEvent: ({ event, data, id }) => seen.push([event ?? "message", data, id ?? ""]) });
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }));
  return seen;
}

async function byEventSource(chunks: Iterable<Uint8Array>): Promise<Seen[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  const answer = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  const source = new EventSource("http://recorded.test/", { fetch: () => Promise.resolve(answer) });
  const seen: Seen[] = [];
  for (const type of TYPES)
    source.addEventListener(type, ({ data, lastEventId }) => seen.push([type, data, lastEventId]));
  await new Promise<void>((resolve) => source.addEventListener("error", () => resolve()));
  source.close();
  return seen;
}

let server: Server | undefined;
let browser: Chromium | undefined;

afterAll(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

async function byChromium(): Promise<Seen[][]> {
  server = createServer((request, response) => {
    const recording =
      recordings[Number(new URL(request.url ?? "/", "http://page").searchParams.get("recording") ?? -1)];
    if (recording === undefined) {
      response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html>");
      return;
    }
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const piece of pieces(recording.bytes)) response.write(piece);
    response.end();
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a listener on TCP has a port");
  browser = await Chromium.start();
  const tab = await browser.open(`http://127.0.0.1:${address.port}/`);
  return tab.evaluate<Seen[][]>(`Promise.all([${[...recordings.keys()]}].map((recording) => new Promise((resolve) => {
    const seen = [];
    const source = new EventSource("/?recording=" + recording);
    for (const type of ${JSON.stringify(TYPES)}) {
      source.addEventListener(type, ({ data, lastEventId }) => seen.push([type, data, lastEventId]));
    }
    source.onerror = () => {
      source.close();
      resolve(seen);
    };
  })))`);
}

test("the recordings have what a feed can have", () => {
  const [busy, quiet, waiting, replay] = recordings.map(({ bytes }) => bytes.toString());
  for (const sign of ["retry: ", "event: hello", '"done":true', "event: log_entry", "😀", "event: status_change"]) {
    expect(busy).toContain(sign);
  }
  expect(busy).toMatch(/event: fleet_status/);
  expect(busy).toMatch(/event: metric_update/);
  expect(Math.max(...(busy ?? "").split("\n").map((line) => line.length))).toBeGreaterThan(16 * 1_024);
  expect(quiet).toMatch(/event: ping\n/);
  expect(quiet?.match(/\n\nid: [a-z0-9]+-[0-9]+\n\n/g)?.length).toBeGreaterThan(0);
  expect(waiting).toMatch(CONFLATED_WITHOUT_ID);
  expect(replay).toContain("event: gap");
});

test("four readers see the same events", async () => {
  const inChromium = await byChromium();
  for (const [i, { name, bytes }] of recordings.entries()) {
    const ours = byOurParser(pieces(bytes));
    expect(ours.length, name).toBeGreaterThan(1);
    expect(byOurParser([bytes]), name).toEqual(ours);
    expect(inChromium[i], `${name}, in Chromium`).toEqual(ours);
    // Both show an event's own id only, and none for one that has none.
    const withOwnIds = byOurParser(pieces(bytes), { inherits: false });
    expect(await byEventSource(pieces(bytes)), `${name}, eventsource`).toEqual(withOwnIds);
    expect(byEventSourceParser(pieces(bytes)), `${name}, eventsource-parser`).toEqual(withOwnIds);
  }
});
