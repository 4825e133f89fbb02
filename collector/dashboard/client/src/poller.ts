/** Asks by other means while the feed is not live: at once when it is known to be lost, and regularly. */

/** How often, unless told otherwise. */
export const POLL_MS = 30_000;

export class Poller {
  readonly #poll: () => unknown;
  readonly #everyMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #isAsking = false;
  #wasUrged = false;

  constructor(poll: () => unknown, everyMs: number) {
    this.#poll = poll;
    this.#everyMs = everyMs;
  }

  /** Asks from now on, first when a period is over. */
  start(): void {
    this.#timer ??= setInterval(() => void this.#ask(), this.#everyMs);
  }

  /** Asks at once, unless it did since the start. */
  urge(): void {
    if (this.#wasUrged) return;
    this.#wasUrged = true;
    void this.#ask();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#wasUrged = false;
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      await this.#poll();
    } catch {
      // The next one may succeed; what is shown is known to be old meanwhile.
    } finally {
      this.#isAsking = false;
    }
  }
}
