/**
 * The feed over the browser's EventSource, for pages whose policy or tools need it.
 *
 * It cannot send a token (it can send a session's cookie). It shows neither statuses nor ids without events, and its own
 * reconnects have no back-off. So it is closed at the first error, and the connection opens another one.
 */

import type { Credentials } from "./credentials.ts";
import { readStreamRefusal } from "./refusal.ts";
import type { OpenStream, StreamEnd, StreamRequest } from "./transport.ts";
import { CONTROL_TYPES, EVENT_TYPES } from "./wire.ts";

const TOKEN_REASON = "EventSource cannot send a token: open a session and return undefined, or use mode fetch";

export interface NativeTransportOptions {
  EventSource: typeof globalThis.EventSource;
  fetch: typeof globalThis.fetch;
  /** Only to open a new session: a token cannot be sent. */
  credentials: Credentials;
}

export function nativeTransport(options: NativeTransportOptions): OpenStream {
  const { credentials } = options;
  /** A new session was opened, and no stream since. */
  let isRenewed = false;

  /** EventSource does not say why it got no stream. Whether another attempt makes sense depends on it. */
  const findReason = async (url: URL): Promise<StreamEnd> => {
    const abort = new AbortController();
    try {
      const response = await options.fetch(url, { signal: abort.signal, cache: "no-store" });
      if (response.status === 200) return { kind: "ended", reason: "the stream could not be opened" };
      const refusal = await readStreamRefusal(response);
      if (response.status !== 401 || !credentials.canRenew || isRenewed) return refusal;
      isRenewed = true;
      const token = await credentials.renew();
      return { ...refusal, ...(token === undefined ? { kind: "ended" } : { reason: TOKEN_REASON }) };
    } catch (error) {
      return { kind: "ended", reason: error instanceof Error ? error.message : String(error) };
    } finally {
      abort.abort();
    }
  };

  return (request, handlers) => {
    const url = withAfter(request);
    const source = new options.EventSource(url);
    let closed = false;
    let opened = false;
    source.onopen = () => {
      opened = true;
      isRenewed = false;
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
        : findReason(url);
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
