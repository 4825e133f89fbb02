/** What a connection needs of the network: fetch and the browser's EventSource both give it. */

/** A stream to be opened. */
export interface StreamRequest {
  url: URL;
  /** Go on behind this id. */
  after: string | undefined;
}

/** An event as it came. */
export interface StreamEvent {
  type: string;
  data: string;
  id: string | undefined;
  /** The id may be an earlier event's: EventSource does not tell which event it came with. */
  inherited: boolean;
}

/** Why a stream ended. */
export type StreamEnd =
  /** The other side, or the network, ended it. */
  | { kind: "ended"; reason: string }
  /** The answer was no stream. */
  | { kind: "refused"; status: number; reason: string; retryAfterMs: number | undefined };

/** What a stream tells. After `onEnd`, or once it was closed, it tells nothing more. */
export interface StreamHandlers {
  /** The server answered with a stream. */
  onOpen(): void;
  /** Something came, if only a part of an event. */
  onActivity(): void;
  onEvent(event: StreamEvent): void;
  /** An id without an event. */
  onId(id: string): void;
  /** How long to wait before connecting anew. */
  onRetry(ms: number): void;
  onEnd(end: StreamEnd): void;
}

/** Opens a stream; what it returns closes it. */
export type OpenStream = (request: StreamRequest, handlers: StreamHandlers) => () => void;
