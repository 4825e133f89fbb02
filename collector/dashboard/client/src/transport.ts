/** What a connection needs of the network. Two modules implement it: one over fetch, one over the browser's EventSource. */

/** A stream to be opened. */
export interface StreamRequest {
  url: URL;
  /** Resume after this id. */
  after: string | undefined;
}

/** An event as it was received. */
export interface StreamEvent {
  type: string;
  data: string;
  id: string | undefined;
  /** The id may be that of an earlier event: EventSource does not say which event an id came with. */
  inherited: boolean;
}

/** Why a stream ended. */
export type StreamEnd =
  /** The server or the network ended it. */
  | { kind: "ended"; reason: string }
  /** The answer was not a stream. */
  | { kind: "refused"; status: number; reason: string; retryAfterMs: number | undefined };

/** Calls that a stream makes. It makes none after `onEnd`, and none after it was closed. */
export interface StreamHandlers {
  /** The server answered with a stream. */
  onOpen(): void;
  /** Bytes were received, perhaps only a part of an event. */
  onActivity(): void;
  onEvent(event: StreamEvent): void;
  /** An id without an event. */
  onId(id: string): void;
  /** How long to wait before the next connection. */
  onRetry(ms: number): void;
  onEnd(end: StreamEnd): void;
}

/** Opens a stream and returns a function that closes it. */
export type OpenStream = (request: StreamRequest, handlers: StreamHandlers) => () => void;
