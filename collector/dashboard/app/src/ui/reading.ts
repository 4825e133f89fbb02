/** What lists that read page after page have in common: one reading at a time, and why the last one failed. */

import { describe, isAbort } from "../api/http.ts";

export class Reading {
  error: string | undefined;
  isRunning = false;
  readonly #stop = new AbortController();

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Ends the reading that runs, and what it brings is not shown any more. */
  close(): void {
    this.#stop.abort();
  }

  /** Runs it, unless another one runs, and calls `onDone` when there is something to show. */
  async run(work: () => Promise<unknown>, onDone: () => void): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      await work();
      this.error = undefined;
    } catch (error) {
      if (isAbort(error)) return;
      this.error = describe(error);
    } finally {
      this.isRunning = false;
    }
    if (!this.#stop.signal.aborted) onDone();
  }
}
