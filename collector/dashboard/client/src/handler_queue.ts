/**
 * Calls the program's handlers one after the other: a handler that returns a promise has finished before the next call
 * begins. While all handlers are synchronous, each call is made at once.
 */

/**
 * Calls that may wait for a slow handler. A replay from the collector's database has at most as many events, so a
 * client that waits for more may already need a gap.
 */
export const MAX_PENDING_CALLS = 10_000;

export interface HandlerQueueHooks {
  /** A call threw, or its promise was rejected. The next call is made all the same. */
  onError(error: unknown): void;
  /** {@link MAX_PENDING_CALLS} calls wait: nothing more should be added before `onDrained`. */
  onFull(): void;
  /** After `onFull`, every call was made. */
  onDrained(): void;
}

export class HandlerQueue {
  readonly #hooks: HandlerQueueHooks;
  #pending: (() => unknown)[] = [];
  /** The call that has not finished yet. */
  #running: Promise<void> | undefined;
  #isCalling = false;
  #isFull = false;

  constructor(hooks: HandlerQueueHooks) {
    this.#hooks = hooks;
  }

  /** Makes a call: now, or after those that were added before it. */
  push(call: () => unknown): void {
    this.#pending.push(call);
    // A handler may add calls while it runs; the loop makes them after it.
    if (!this.#isCalling && this.#running === undefined) this.#makeCalls();
    if (this.#isFull || this.#pending.length < MAX_PENDING_CALLS) return;
    this.#isFull = true;
    this.#hooks.onFull();
  }

  /** Drops the calls that wait. The promise is fulfilled when the call that runs has finished. */
  async close(): Promise<void> {
    this.#pending = [];
    this.#isFull = false;
    await this.#running;
  }

  #makeCalls(): void {
    this.#isCalling = true;
    let made = 0;
    // `close` inside of a call replaces the array, and so ends the loop.
    const pending = this.#pending;
    while (this.#pending === pending && made < pending.length && this.#running === undefined) {
      const call = pending[made];
      made += 1;
      if (call !== undefined) this.#makeCall(call);
    }
    pending.splice(0, made);
    this.#isCalling = false;
    if (this.#running !== undefined || this.#pending.length > 0 || !this.#isFull) return;
    this.#isFull = false;
    this.#hooks.onDrained();
  }

  #makeCall(call: () => unknown): void {
    try {
      const result = call();
      if (!isThenable(result)) return;
      this.#running = Promise.resolve(result).then(
        () => {},
        (error: unknown) => this.#hooks.onError(error),
      );
      void this.#running.then(() => {
        this.#running = undefined;
        this.#makeCalls();
      });
    } catch (error) {
      this.#hooks.onError(error);
    }
  }
}

/** Whether a handler returned a promise. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** Calls a handler outside of the queue. Its errors do not reach the caller. */
export function callHandler(handler: () => unknown): void {
  try {
    const result = handler();
    if (isThenable(result)) result.then(undefined, reportUncaught);
  } catch (error) {
    reportUncaught(error);
  }
}

/** Reports an error of a handler as an uncaught one: to the page's console, or to Node, which ends the process. */
export function reportUncaught(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else
    queueMicrotask(() => {
      throw error;
    });
}
