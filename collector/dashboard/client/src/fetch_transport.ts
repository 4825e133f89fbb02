/** The feed over fetch: it sees statuses, ids without events and every byte, and can send a token. */

import type { Credentials } from "./credentials.ts";
import { EventStreamParser } from "./parser.ts";
import { readStreamRefusal } from "./refusal.ts";
import type { OpenStream, StreamEnd, StreamHandlers, StreamRequest } from "./transport.ts";

export interface FetchTransportOptions {
  credentials: Credentials;
  /** Name and version of the program. */
  client: string;
  fetch: typeof globalThis.fetch;
}

export function fetchTransport(options: FetchTransportOptions): OpenStream {
  return (request, handlers) => {
    const abort = new AbortController();
    const { signal } = abort;
    void read(options, request, handlers, signal).then((end) => {
      if (signal.aborted) return;
      abort.abort();
      handlers.onEnd(end);
    });
    return () => abort.abort();
  };
}

async function read(
  { credentials, client, fetch }: FetchTransportOptions,
  request: StreamRequest,
  handlers: StreamHandlers,
  signal: AbortSignal,
): Promise<StreamEnd> {
  try {
    const headers = new Headers({ Accept: "text/event-stream", "X-Systole-Client": client });
    if (request.after !== undefined) headers.set("Last-Event-ID", request.after);
    const response = await credentials.send(headers, (headers) => {
      // The stream may have been closed while the token was fetched.
      signal.throwIfAborted();
      return fetch(request.url, { headers, signal, cache: "no-store" });
    });
    const stream = response.body;
    if (signal.aborted) return { kind: "ended", reason: "closed" };
    if (response.status !== 200 || stream === null) return await readStreamRefusal(response);
    // A login page also answers 200, and so does a network that wants a login.
    const type = response.headers.get("Content-Type") ?? "without a type";
    if (!/^text\/event-stream\b/i.test(type)) {
      void stream.cancel().catch(() => {});
      return { kind: "ended", reason: `the answer is ${type}, not a stream of events` };
    }
    handlers.onOpen();
    await readStream(stream, handlers, signal);
    return { kind: "ended", reason: "the stream ended" };
  } catch (error) {
    return { kind: "ended", reason: error instanceof Error ? error.message : String(error) };
  }
}

async function readStream(stream: ReadableStream<Uint8Array>, handlers: StreamHandlers, signal: AbortSignal) {
  // A handler may close the stream. It receives nothing more of the same bytes then.
  const unlessClosed =
    <T>(call: (value: T) => void) =>
    (value: T) => {
      if (!signal.aborted) call(value);
    };
  const parser = new EventStreamParser({
    onEvent: unlessClosed((event) => handlers.onEvent({ ...event, inherited: false })),
    onId: unlessClosed((id) => handlers.onId(id)),
    onRetry: unlessClosed((ms) => handlers.onRetry(ms)),
  });
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    handlers.onActivity();
    parser.push(value);
  }
}
