/** One stream at a time, opened again and again: when to try, when to wait, when to give up. */

import { backoffMs } from "./backoff.ts";
import type { FeedState, StateDetail } from "./state.ts";
import type { OpenStream, StreamEnd, StreamEvent, StreamHandlers, StreamRequest } from "./transport.ts";
import { type AnyEvent, type Hello, isKnownType, type Snapshot } from "./wire.ts";

/** Tries in a row before giving up. */
const MOST_TRIES = 50;
/** A stream that lived this long was a success: the count of tries begins anew. */
const GOOD_LIFE_MS = 60_000;
/** Silence of so many pings means that nobody is there any more. */
const SILENT_PINGS = 2.5;
/** How often a ping comes, until `hello` says it. */
const DEFAULT_PING_MS = 10_000;
/** The longest wait that a server can ask for. */
const LONGEST_ORDER_MS = 3_600_000;
/** Answers that another try would not change. 204 is how HTTP tells an event source to stop. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([204, 400, 401, 403]);

/** What came: an event, with or without an id, or an id alone. */
export interface Block {
  event: AnyEvent | undefined;
  id: string | undefined;
  /** See {@link StreamEvent.inherited}. */
  inherited: boolean;
}

export interface ConnectionHooks {
  /** The stream to open now. */
  request(): StreamRequest;
  onBlock(block: Block): void;
  onState(state: FeedState, detail: StateDetail): void;
  /** Whether everything up to this number was taken. */
  hasReached(seq: number): boolean;
}

export class Connection {
  readonly #open: OpenStream;
  readonly #hooks: ConnectionHooks;
  /** Closes the one stream that there is, also while it is being opened. */
  #closeStream: (() => void) | undefined;
  #hadStream: boolean;
  #state: FeedState;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #lastActivityAt = 0;
  #openedAt: number | undefined;
  #failures = 0;
  #pingMs = DEFAULT_PING_MS;
  /** What `retry:` said last. */
  #retryMs = 0;
  /** What the last goodbye said. */
  #goodbye: { reason: string; retryMs: number } | undefined;
  /** The server does not want to be asked before. */
  #notBefore = 0;
  /** The last answer was 204: only a person may ask again. */
  #dismissed = false;
  #head: number | undefined;
  #snapshot: Required<Snapshot> | undefined;

  /** With `hadStream` something is shown already, which is old until the first stream is open. */
  constructor(open: OpenStream, hooks: ConnectionHooks, hadStream: boolean) {
    this.#open = open;
    this.#hooks = hooks;
    this.#hadStream = hadStream;
    this.#state = this.#lost;
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
    if (this.#state !== this.#lost) this.#enter(this.#lost, {});
    this.#heardSomething();
    this.#closeStream = this.#open(this.#hooks.request(), this.#handlers());
  }

  /** Ends everything, without a word. */
  close(): void {
    this.#closeStream?.();
    this.#closeStream = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#timer = undefined;
  }

  /** Tries now, whatever was before; does nothing while a stream is there or being opened. */
  recover(): void {
    if (this.#isSilent) this.#takeForDead();
    if (this.#state === "failed") this.#failures = 0;
    this.#dismissed = false;
    this.start();
  }

  /** The network or the page is back: tries now, unless the server asked for patience or the end. */
  wake(): void {
    if (this.#dismissed || Date.now() < this.#notBefore) return;
    this.recover();
  }

  /** Whether the watchdog is late: timers stand still while a machine sleeps, and are slow in hidden pages. */
  get #isSilent(): boolean {
    return this.#closeStream !== undefined && Date.now() - this.#lastActivityAt >= this.#silenceMs;
  }

  #handlers(): StreamHandlers {
    return {
      onOpen: () => {
        this.#openedAt = Date.now();
      },
      onActivity: () => this.#heardSomething(),
      onRetry: (ms) => {
        this.#retryMs = ms;
      },
      onId: (id) => this.#pass({ event: undefined, id, inherited: false }),
      onEvent: (event) => this.#take(event),
      onEnd: (end) => this.#endStream(end),
    };
  }

  #take({ type, data, id, inherited }: StreamEvent): void {
    if (!isKnownType(type)) {
      this.#pass({ event: undefined, id, inherited });
      return;
    }
    let event: AnyEvent;
    try {
      event = JSON.parse(data) as AnyEvent;
    } catch {
      // Passing it over would lose it without a word; the next stream brings it again.
      this.#abandon(`the data of ${type} is no JSON`);
      return;
    }
    if (event.type === "hello") this.#greet(event);
    if (event.type === "goodbye") this.#goodbye = event;
    if (event.type !== "snapshot") {
      this.#pass({ event, id, inherited });
      return;
    }
    const whole = this.#join(event);
    if (whole !== undefined) this.#pass({ event: whole, id, inherited });
  }

  #greet(hello: Hello): void {
    this.#pingMs = hello.pingMs;
    this.#head = hello.head;
    this.#hadStream = true;
    this.#heardSomething();
    this.#enter("replaying", {});
  }

  /** Parts of a snapshot become one, which is there with the last of them. */
  #join(part: Snapshot): Snapshot | undefined {
    this.#snapshot ??= { type: "snapshot", nodes: [], pipelines: [], samples: [], done: true };
    const whole = this.#snapshot;
    for (const node of part.nodes ?? []) whole.nodes.push(node);
    for (const pipeline of part.pipelines ?? []) whole.pipelines.push(pipeline);
    for (const sample of part.samples ?? []) whole.samples.push(sample);
    if (part.done !== true) return undefined;
    this.#snapshot = undefined;
    return whole;
  }

  #pass(block: Block): void {
    this.#hooks.onBlock(block);
    this.settle();
  }

  /** Looks whether the stream has caught up: something was taken, now or after it had been held back. */
  settle(): void {
    if (this.#state === "replaying" && this.#head !== undefined && this.#hooks.hasReached(this.#head)) {
      this.#enter("live", {});
    }
  }

  get #silenceMs(): number {
    return this.#pingMs * SILENT_PINGS;
  }

  #heardSomething(): void {
    this.#lastActivityAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#takeForDead(), this.#silenceMs);
  }

  #takeForDead(): void {
    this.#abandon(`nothing was heard for ${Math.round(this.#silenceMs / 1_000)} s`);
  }

  /** Closes a stream that is of no use any more. */
  #abandon(reason: string): void {
    this.#closeStream?.();
    this.#endStream({ kind: "ended", reason });
  }

  #endStream(end: StreamEnd): void {
    const now = Date.now();
    this.#closeStream = undefined;
    clearTimeout(this.#watchdog);
    if (this.#openedAt !== undefined && now - this.#openedAt >= GOOD_LIFE_MS) this.#failures = 0;
    this.#failures += 1;
    const goodbye = this.#goodbye;
    const reason = goodbye === undefined ? end.reason : `the collector said goodbye: ${goodbye.reason}`;
    const status = end.kind === "refused" ? { status: end.status } : {};
    this.#dismissed = end.kind === "refused" && end.status === 204;
    const isFinal = end.kind === "refused" && FINAL_STATUSES.has(end.status);
    if (isFinal || goodbye?.reason === "revoked") {
      this.#enter("failed", { reason, ...status });
      return;
    }
    if (this.#failures >= MOST_TRIES) {
      this.#enter("failed", { reason: `${reason} (after ${MOST_TRIES} tries)`, ...status });
      return;
    }
    const retryAfterMs = end.kind === "refused" ? end.retryAfterMs : undefined;
    const orderedMs = Math.min(LONGEST_ORDER_MS, goodbye?.retryMs ?? retryAfterMs ?? this.#retryMs);
    const retryInMs = Math.max(orderedMs, backoffMs(this.#failures));
    this.#notBefore = now + orderedMs;
    this.#timer = setTimeout(() => this.start(), retryInMs);
    this.#enter(this.#lost, { reason, retryInMs, ...status });
  }

  /** The state of being without a stream. */
  get #lost(): FeedState {
    return this.#hadStream ? "stale" : "connecting";
  }

  #enter(state: FeedState, detail: StateDetail): void {
    if (this.#state === state && detail.reason === undefined) return;
    this.#state = state;
    this.#hooks.onState(state, detail);
  }
}
