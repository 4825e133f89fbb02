/** The feed over fetch: sees statuses, ids without events and every byte, and can send a token. */

import { EventStreamParser } from "./parser.ts";
import type { OpenStream, StreamEnd, StreamHandlers, StreamRequest } from "./transport.ts";

export interface FetchTransportOptions {
  token?: string | undefined;
  /** Name and version of the program that asks. */
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
  options: FetchTransportOptions,
  request: StreamRequest,
  handlers: StreamHandlers,
  signal: AbortSignal,
): Promise<StreamEnd> {
  try {
    const headers = new Headers({ Accept: "text/event-stream", "X-Systole-Client": options.client });
    if (options.token !== undefined) headers.set("Authorization", `Bearer ${options.token}`);
    if (request.after !== undefined) headers.set("Last-Event-ID", request.after);
    const response = await options.fetch(request.url, { headers, signal, cache: "no-store" });
    const stream = response.body;
    if (signal.aborted) return { kind: "ended", reason: "closed" };
    if (response.status !== 200 || stream === null) return await refusal(response);
    // A login page, or a page of a network that wants a login, is an answer with 200, too.
    const type = response.headers.get("Content-Type") ?? "nothing";
    if (!/^text\/event-stream\b/i.test(type)) {
      void stream.cancel().catch(() => {});
      return { kind: "ended", reason: `the answer is ${type} and no stream of events` };
    }
    handlers.onOpen();
    await readStream(stream, handlers, signal);
    return { kind: "ended", reason: "the stream ended" };
  } catch (error) {
    return { kind: "ended", reason: error instanceof Error ? error.message : String(error) };
  }
}

async function readStream(stream: ReadableStream<Uint8Array>, handlers: StreamHandlers, signal: AbortSignal) {
  // Whoever closes the stream inside a handler hears nothing of the rest of the same bytes.
  const unlessClosed =
    <T>(tell: (value: T) => void) =>
    (value: T) => {
      if (!signal.aborted) tell(value);
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

/** What an answer that is no stream says. */
export async function refusal(response: Response): Promise<StreamEnd> {
  const retryAfterMs = parseRetryAfter(response.headers.get("Retry-After"), Date.now());
  let reason = `HTTP ${response.status}`;
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    const problem: unknown = await response.json().catch(() => undefined);
    if (typeof problem === "object" && problem !== null && "detail" in problem) reason += `: ${String(problem.detail)}`;
  } else {
    void response.body?.cancel().catch(() => {});
  }
  return { kind: "refused", status: response.status, reason, retryAfterMs };
}

/** Reads Retry-After, seconds or a date, into milliseconds from now. */
export function parseRetryAfter(value: string | null, nowMs: number): number | undefined {
  if (value === null) return undefined;
  if (/^[0-9]+$/.test(value.trim())) return Number(value) * 1_000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
