/** Calls the program's `poll` while the feed is not live: at once when the stream is lost, and then regularly. */

/** Default and longest time between two polls. */
export const POLL_MS = 30_000;

export class Poller {
  readonly #poll: () => unknown;
  readonly #everyMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #isPolling = false;
  #hasPolledNow = false;

  constructor(poll: () => unknown, everyMs: number) {
    this.#poll = poll;
    this.#everyMs = everyMs;
  }

  /** Polls from now on, first after one period. */
  start(): void {
    this.#timer ??= setInterval(() => void this.#pollOnce(), this.#everyMs);
  }

  /** Polls at once, but only once after each start. */
  pollNow(): void {
    if (this.#hasPolledNow) return;
    this.#hasPolledNow = true;
    void this.#pollOnce();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#hasPolledNow = false;
  }

  async #pollOnce(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      await this.#poll();
    } catch {
      // The next poll may succeed. The state says that the data is stale meanwhile.
    } finally {
      this.#isPolling = false;
    }
  }
}
