/** Decides when so many states change that a page reads them instead of following each. */

/** Changes within {@link WINDOW_MS} that a page follows: about 15 KB a second. */
const MAX_CHANGES = 250;
const WINDOW_MS = 5_000;
/** How long a storm lasts at least, and at most: each one that follows another soon lasts twice as long. */
const FIRST_LENGTH_MS = 30_000;
const MAX_LENGTH_MS = 10 * 60_000;

export class StormGauge {
  #windowBegan = 0;
  #changes = 0;
  #lengthMs = FIRST_LENGTH_MS;
  #endsAt = 0;

  /** Takes a change. Returns whether a storm begins with it. */
  count(now: number): boolean {
    if (now - this.#windowBegan > WINDOW_MS) {
      this.#windowBegan = now;
      this.#changes = 0;
    }
    this.#changes += 1;
    if (this.#changes <= MAX_CHANGES) return false;
    this.#changes = 0;
    const isSoon = now - this.#endsAt < this.#lengthMs;
    this.#lengthMs = isSoon ? Math.min(MAX_LENGTH_MS, this.#lengthMs * 2) : FIRST_LENGTH_MS;
    this.#endsAt = now + this.#lengthMs;
    return true;
  }

  /** Whether it is time to follow changes again. */
  isOver(now: number): boolean {
    return now >= this.#endsAt;
  }
}
