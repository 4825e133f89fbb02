/** One stream at a time, opened again after each end: it decides when to try, when to wait and when to stop. */

import type { Addresses } from "./addresses.ts";
import { backoffMs } from "./backoff.ts";
import type { FeedState, StateDetail } from "./state.ts";
import type { OpenStream, StreamEnd, StreamEvent, StreamHandlers, StreamRequest } from "./transport.ts";
import { type AnyEvent, type Hello, isKnownType, type Snapshot } from "./wire.ts";

/** Attempts in a row before the connection fails: about 25 minutes of a collector that does not answer. */
const MAX_ATTEMPTS = 50;
/** After a stream of this length, failures are counted from zero again. */
const STABLE_STREAM_MS = 60_000;
/** A stream is dead after a silence of this many ping intervals: two pings are missing then. */
const SILENT_PINGS = 2.5;
/** The ping interval until `hello` says it: the collector's default. */
const DEFAULT_PING_MS = 10_000;
/** The longest wait that a server can ask for. A longer one is more likely a mistake than meant. */
const MAX_SERVER_WAIT_MS = 3_600_000;
/** The longest wait for an answer while there is another address. */
const OTHER_ADDRESS_MS = 5_000;
/** Answers that another attempt would not change. 204 is how HTTP tells an event source to stop. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([204, 400, 401, 403]);

/** One message of a feed: an event, with or without an id, or an id alone. */
export interface FeedMessage {
  event: AnyEvent | undefined;
  id: string | undefined;
  /** See {@link StreamEvent.inherited}. */
  inherited: boolean;
}

export interface ConnectionHooks {
  /** The stream to open now. */
  request(): StreamRequest;
  onMessage(message: FeedMessage): void;
  onState(state: FeedState, detail: StateDetail): void;
  /** Whether everything up to this number was received. */
  hasReached(seq: number): boolean;
  /** Whether the next attempt can have another token: a revoked one is not the end then. */
  canRenewToken: boolean;
  /** The addresses that `request` takes turns with, if there are several. */
  addresses?: Addresses | undefined;
}

export class Connection {
  readonly #open: OpenStream;
  readonly #hooks: ConnectionHooks;
  /** Closes the stream, also while it is being opened. Undefined when there is none. */
  #closeStream: (() => void) | undefined;
  #hadStream: boolean;
  #state: FeedState;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #lastActivityAt = 0;
  #openedAt: number | undefined;
  #failures = 0;
  #pingMs = DEFAULT_PING_MS;
  /** The last value of `retry:`. */
  #retryMs = 0;
  /** The goodbye of this stream. */
  #goodbye: { reason: string; retryMs: number } | undefined;
  /** The server asked for no request before this time. */
  #notBefore = 0;
  /** The last answer was 204: only `recover` tries again. */
  #isStopped = false;
  #head: number | undefined;
  #snapshot: Required<Snapshot> | undefined;

  /** `hadStream`: the program shows data already, which is stale until the first stream is open. */
  constructor(open: OpenStream, hooks: ConnectionHooks, hadStream: boolean) {
    this.#open = open;
    this.#hooks = hooks;
    this.#hadStream = hadStream;
    this.#state = this.#disconnectedState;
  }

  get state(): FeedState {
    return this.#state;
  }

  /** Opens a stream, unless there is one. */
  start(): void {
    if (this.#closeStream !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#openedAt = undefined;
    this.#goodbye = undefined;
    this.#head = undefined;
    this.#snapshot = undefined;
    if (this.#state !== this.#disconnectedState) this.#setState(this.#disconnectedState, {});
    this.#recordActivity();
    this.#closeStream = this.#open(this.#hooks.request(), this.#handlers());
  }

  /** Ends everything, without a change of the state. */
  close(): void {
    this.#closeStream?.();
    this.#closeStream = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#timer = undefined;
  }

  /** Tries now, in any state. Does nothing while a stream is open or being opened. */
  recover(): void {
    if (this.#isSilent) this.#onSilence();
    if (this.#state === "failed") this.#failures = 0;
    this.#isStopped = false;
    this.start();
  }

  /** The network or the page is back: tries now, unless the server asked to wait or to stop. */
  wake(): void {
    if (this.#isStopped || Date.now() < this.#notBefore) return;
    this.recover();
  }

  /** Becomes live if everything up to the stream's head was received. */
  checkLive(): void {
    if (this.#state === "replaying" && this.#head !== undefined && this.#hooks.hasReached(this.#head)) {
      this.#setState("live", {});
    }
  }

  /** Whether the watchdog is late: timers stop while a machine sleeps, and are slow in hidden pages. */
  get #isSilent(): boolean {
    return this.#closeStream !== undefined && Date.now() - this.#lastActivityAt >= this.#silenceMs;
  }

  #handlers(): StreamHandlers {
    return {
      onOpen: () => {
        this.#openedAt = Date.now();
        this.#recordActivity();
      },
      onActivity: () => this.#recordActivity(),
      onRetry: (ms) => {
        this.#retryMs = ms;
      },
      onId: (id) => this.#forward({ event: undefined, id, inherited: false }),
      onEvent: (event) => this.#onEvent(event),
      onEnd: (end) => this.#onStreamEnd(end),
    };
  }

  #onEvent({ type, data, id, inherited }: StreamEvent): void {
    if (!isKnownType(type)) {
      this.#forward({ event: undefined, id, inherited });
      return;
    }
    let event: AnyEvent;
    try {
      event = JSON.parse(data) as AnyEvent;
    } catch {
      // To skip the event would lose it without notice. The next stream sends it again.
      this.#abandon(`the data of ${type} is not JSON`);
      return;
    }
    if (event.type === "hello") this.#onHello(event);
    if (event.type === "goodbye") this.#goodbye = event;
    if (event.type !== "snapshot") {
      this.#forward({ event, id, inherited });
      return;
    }
    const whole = this.#joinParts(event);
    if (whole !== undefined) this.#forward({ event: whole, id, inherited });
  }

  #onHello(hello: Hello): void {
    this.#pingMs = hello.pingMs;
    this.#head = hello.head;
    this.#hadStream = true;
    this.#recordActivity();
    this.#setState("replaying", {});
  }

  /** Joins the parts of a snapshot. Returns it with the last part, and undefined before. */
  #joinParts(part: Snapshot): Snapshot | undefined {
    this.#snapshot ??= { type: "snapshot", nodes: [], pipelines: [], samples: [], totals: [], done: true };
    const whole = this.#snapshot;
    for (const node of part.nodes ?? []) whole.nodes.push(node);
    for (const pipeline of part.pipelines ?? []) whole.pipelines.push(pipeline);
    for (const sample of part.samples ?? []) whole.samples.push(sample);
    for (const totals of part.totals ?? []) whole.totals.push(totals);
    if (part.done !== true) return undefined;
    this.#snapshot = undefined;
    return whole;
  }

  #forward(message: FeedMessage): void {
    this.#hooks.onMessage(message);
    this.checkLive();
  }

  get #silenceMs(): number {
    const isOpening = this.#openedAt === undefined && this.#hooks.addresses !== undefined;
    return isOpening ? OTHER_ADDRESS_MS : this.#pingMs * SILENT_PINGS;
  }

  #recordActivity(): void {
    this.#lastActivityAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#onSilence(), this.#silenceMs);
  }

  #onSilence(): void {
    this.#abandon(`nothing was received for ${Math.round(this.#silenceMs / 1_000)} s`);
  }

  /** Closes a stream that cannot be used any more. */
  #abandon(reason: string): void {
    this.#closeStream?.();
    this.#onStreamEnd({ kind: "ended", reason });
  }

  #onStreamEnd(end: StreamEnd): void {
    const now = Date.now();
    this.#closeStream = undefined;
    clearTimeout(this.#watchdog);
    if (this.#openedAt !== undefined && now - this.#openedAt >= STABLE_STREAM_MS) this.#failures = 0;
    this.#failures += 1;
    const goodbye = this.#goodbye;
    const reason = goodbye === undefined ? end.reason : `the collector closed the stream: ${goodbye.reason}`;
    const status = end.kind === "refused" ? { status: end.status } : {};
    this.#isStopped = end.kind === "refused" && end.status === 204;
    const isFinal = end.kind === "refused" && FINAL_STATUSES.has(end.status);
    if (isFinal || (goodbye?.reason === "revoked" && !this.#hooks.canRenewToken)) {
      this.#setState("failed", { reason, ...status });
      return;
    }
    // What a collector asks for, it asks of the next stream at its own address.
    const moveInMs = this.#hooks.addresses?.moveOn(this.#openedAt !== undefined);
    if (moveInMs !== undefined) {
      this.#failures -= 1;
      this.#notBefore = 0;
      this.#timer = setTimeout(() => this.start(), moveInMs);
      this.#setState(this.#disconnectedState, { reason, retryInMs: moveInMs, ...status });
      return;
    }
    if (this.#failures >= MAX_ATTEMPTS) {
      this.#setState("failed", { reason: `${reason} (after ${MAX_ATTEMPTS} attempts)`, ...status });
      return;
    }
    const retryAfterMs = end.kind === "refused" ? end.retryAfterMs : undefined;
    const serverWaitMs = Math.min(MAX_SERVER_WAIT_MS, goodbye?.retryMs ?? retryAfterMs ?? this.#retryMs);
    const retryInMs = Math.max(serverWaitMs, backoffMs(this.#failures));
    this.#notBefore = now + serverWaitMs;
    this.#timer = setTimeout(() => this.start(), retryInMs);
    this.#setState(this.#disconnectedState, { reason, retryInMs, ...status });
  }

  /** The state without a stream. */
  get #disconnectedState(): FeedState {
    return this.#hadStream ? "stale" : "connecting";
  }

  #setState(state: FeedState, detail: StateDetail): void {
    if (this.#state === state && detail.reason === undefined) return;
    this.#state = state;
    this.#hooks.onState(state, detail);
  }
}
