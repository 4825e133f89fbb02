/**
 * The feed over the browser's EventSource, for pages whose policy or tools want it.
 *
 * It cannot send a token (a session's cookie it can), shows neither statuses nor ids without events, and its own way of
 * connecting anew knows no back-off: so it is closed at the first error, and opened again by the connection.
 */

import { refusal } from "./fetch_transport.ts";
import type { OpenStream, StreamEnd, StreamRequest } from "./transport.ts";
import { CONTROL_TYPES, EVENT_TYPES } from "./wire.ts";

export interface NativeTransportOptions {
  EventSource: typeof globalThis.EventSource;
  fetch: typeof globalThis.fetch;
}

export function nativeTransport(options: NativeTransportOptions): OpenStream {
  return (request, handlers) => {
    const url = withAfter(request);
    const source = new options.EventSource(url);
    let closed = false;
    let opened = false;
    source.onopen = () => {
      opened = true;
      handlers.onActivity();
      handlers.onOpen();
    };
    for (const type of [...EVENT_TYPES, ...CONTROL_TYPES]) {
      source.addEventListener(type, (event: MessageEvent<string>) => {
        if (closed) return;
        handlers.onActivity();
        handlers.onEvent({ type, data: event.data, id: event.lastEventId || undefined, inherited: true });
      });
    }
    source.onerror = () => {
      source.close();
      const end: Promise<StreamEnd> = opened
        ? Promise.resolve({ kind: "ended", reason: "the stream ended" })
        : askWhy(options, url);
      void end.then((end) => {
        if (closed) return;
        closed = true;
        handlers.onEnd(end);
      });
    };
    return () => {
      closed = true;
      source.close();
    };
  };
}

function withAfter({ url, after }: StreamRequest): URL {
  if (after === undefined) return url;
  const resumed = new URL(url);
  resumed.searchParams.set("after", after);
  return resumed;
}

/** EventSource does not say why it got no stream; whether to try again depends on it. */
async function askWhy(options: NativeTransportOptions, url: URL): Promise<StreamEnd> {
  const abort = new AbortController();
  try {
    const response = await options.fetch(url, { signal: abort.signal, cache: "no-store" });
    if (response.status !== 200) return await refusal(response);
    return { kind: "ended", reason: "the stream could not be opened" };
  } catch {
    return { kind: "ended", reason: "the collector could not be reached" };
  } finally {
    abort.abort();
  }
}
