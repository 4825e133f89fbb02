/** The addresses of a cluster's collectors: one is in use, and the next one after it has failed. */

/** The longest wait before the next address is tried: clients that lost the same collector do not come at once. */
const LONGEST_MOVE_MS = 500;

export class Addresses {
  readonly #urls: readonly URL[];
  #current = 0;
  /** Failures in a row, since an address answered or a whole round has failed. */
  #failures = 0;

  /** At least one address. */
  constructor(urls: readonly URL[]) {
    if (urls.length === 0) throw new TypeError("url: the list has no address");
    this.#urls = urls;
  }

  get inUse(): URL {
    // The index is below the length.
    return this.#urls[this.#current] as URL;
  }

  get count(): number {
    return this.#urls.length;
  }

  /** All of them, as one text. */
  get name(): string {
    return this.#urls.map((url) => url.href).join(" ");
  }

  /**
   * The address in use has failed; `hadAnswered` before. Returns how long to wait before the next one is tried, or
   * undefined after each address has failed once.
   */
  moveOn(hadAnswered: boolean, random: () => number = Math.random): number | undefined {
    if (hadAnswered) this.#failures = 0;
    this.#current = (this.#current + 1) % this.#urls.length;
    this.#failures += 1;
    if (this.#failures < this.#urls.length) return random() * LONGEST_MOVE_MS;
    this.#failures = 0;
    return undefined;
  }
}
