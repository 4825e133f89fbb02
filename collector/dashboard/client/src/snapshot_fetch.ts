/** Fetches one snapshot while the main stream runs, on a stream of its own that ends with the snapshot. */

import { backoffMs } from "./backoff.ts";
import { Connection } from "./connection.ts";
import type { OpenStream } from "./transport.ts";
import type { Snapshot } from "./wire.ts";

export interface SnapshotFetchHooks {
  /** Where it is fetched now. */
  url(): URL;
  /** See {@link ConnectionHooks.canRenewToken}. */
  canRenewToken: boolean;
  /** An attempt begins: what is received from now on may be newer than the snapshot. */
  onBegin(): void;
  onSnapshot(snapshot: Snapshot, id: string | undefined): void;
  /** This attempt failed; another one follows. */
  onFailure(): void;
}

export class SnapshotFetch {
  readonly #open: OpenStream;
  readonly #hooks: SnapshotFetchHooks;
  #connection: Connection | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(open: OpenStream, hooks: SnapshotFetchHooks) {
    this.#open = open;
    this.#hooks = hooks;
  }

  get isActive(): boolean {
    return this.#connection !== undefined || this.#timer !== undefined;
  }

  start(): void {
    this.#failures = 0;
    this.#try();
  }

  stop(): void {
    this.#connection?.close();
    this.#connection = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Ends this attempt. Another one follows after the usual wait. */
  retryLater(serverWaitMs = 0): void {
    this.stop();
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#try(), Math.max(serverWaitMs, backoffMs(this.#failures)));
    this.#hooks.onFailure();
  }

  #try(): void {
    this.stop();
    const connection = new Connection(
      this.#open,
      {
        request: () => ({ url: this.#hooks.url(), after: undefined }),
        hasReached: () => false,
        canRenewToken: this.#hooks.canRenewToken,
        onMessage: ({ event, id }) => {
          if (event?.type !== "snapshot") return;
          this.stop();
          this.#hooks.onSnapshot(event, id);
        },
        onState: (state, { retryInMs }) => {
          if (state !== "replaying") this.retryLater(retryInMs);
        },
      },
      false,
    );
    this.#connection = connection;
    this.#hooks.onBegin();
    connection.start();
  }
}
