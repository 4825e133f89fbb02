/**
 * One stream for all tabs of a browser: the tab that holds a lock leads, has the connection, and tells the others what
 * comes. When it closes, the browser gives the lock to the next one, which goes on behind what it saw itself.
 */

import type { Block, Connection, ConnectionHooks } from "./connection.ts";
import type { FeedState, StateDetail } from "./state.ts";

/** A tab that hears nothing for so long asks whether its leader is still there. */
const SILENCE_MS = 25_000;
/** A leader that does not answer for so long is frozen, and its place is taken. */
const ANSWER_MS = 5_000;

/** What a feed gets its events from. */
export interface Link {
  start(): void;
  close(): void;
  /** Tries now; see {@link Connection.recover}. */
  recover(): void;
  /** See {@link Connection.wake}. */
  wake(): void;
  /** See {@link Connection.settle}. */
  settle(): void;
}

/** What a tab says to the others. */
export type TabMessage =
  | { kind: "block"; block: Block }
  | { kind: "state"; state: FeedState; detail: StateDetail; id: string | undefined }
  /** Who leads answers with its state. */
  | { kind: "who" }
  | { kind: "recover" }
  | { kind: "wake" };

/** The part of a BroadcastChannel that is used. */
export interface TabChannel {
  onmessage: ((event: MessageEvent<TabMessage>) => void) | null;
  postMessage(message: TabMessage): void;
  close(): void;
}

/** The part of the browser's LockManager that is used. */
export interface TabLocks {
  request(name: string, options: { steal?: boolean; signal?: AbortSignal }, hold: () => Promise<void>): Promise<void>;
}

export interface TabServices {
  locks: TabLocks;
  openChannel(name: string): TabChannel;
  isVisible(): boolean;
}

/** The browser's own services; undefined where it has none, as in pages without TLS and in Node. */
export function tabServices(): TabServices | undefined {
  if (typeof navigator === "undefined" || typeof BroadcastChannel === "undefined") return undefined;
  const { locks } = navigator as { locks?: LockManager };
  if (locks === undefined) return undefined;
  return {
    locks: { request: (name, options, hold) => locks.request(name, options, hold) },
    openChannel: (name) => new BroadcastChannel(name) as TabChannel,
    isVisible: () => typeof document === "undefined" || document.visibilityState === "visible",
  };
}

export interface TabHooks extends Omit<ConnectionHooks, "request"> {
  /** A connection of this tab; `seen` is how far the tab that led before was. */
  connect(hooks: Pick<ConnectionHooks, "onBlock" | "onState">, seen: string | undefined): Connection;
  /** The id of this tab's place. */
  position(): string | undefined;
  /** The tab that leads is at this place. */
  onLeader(state: FeedState, id: string | undefined): void;
}

export class TabLink implements Link {
  readonly #services: TabServices;
  readonly #name: string;
  readonly #hooks: TabHooks;
  #channel: TabChannel | undefined;
  #connection: Connection | undefined;
  /** Gives the lock back, or stops waiting for it. */
  #resign: (() => void) | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #detail: StateDetail = {};
  /** The last id that the tab that leads told. */
  #seen: string | undefined;
  /** What it said last of itself. */
  #heard: { state: FeedState; detail: StateDetail } | undefined;

  constructor(services: TabServices, name: string, hooks: TabHooks) {
    this.#services = services;
    this.#name = name;
    this.#hooks = hooks;
  }

  get isLeader(): boolean {
    return this.#connection !== undefined;
  }

  start(): void {
    if (this.#channel !== undefined) return;
    this.#channel = this.#services.openChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#askLeader();
    this.#stand(false);
  }

  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
    clearTimeout(this.#patience);
    this.#connection?.close();
    this.#connection = undefined;
    this.#resign?.();
    this.#resign = undefined;
  }

  recover(): void {
    if (this.#connection !== undefined) {
      this.#connection.recover();
    } else {
      this.#post({ kind: "recover" });
      this.#askLeader();
    }
  }

  wake(): void {
    if (this.#connection !== undefined) {
      this.#connection.wake();
    } else {
      this.#post({ kind: "wake" });
      this.#askLeader();
    }
  }

  settle(): void {
    if (this.#connection !== undefined) this.#connection.settle();
    else if (this.#heard !== undefined) this.#hooks.onState(this.#heard.state, this.#heard.detail);
  }

  /** Waits to lead, or takes the lead from a tab that does not answer. */
  #stand(steal: boolean): void {
    const abort = new AbortController();
    let given = () => {};
    const gone = new Promise<void>((resolve) => {
      given = resolve;
    });
    const resign = () => {
      abort.abort();
      given();
    };
    this.#resign?.();
    this.#resign = resign;
    const lead = () => {
      if (this.#resign !== resign) return Promise.resolve();
      this.#lead();
      return gone;
    };
    this.#services.locks
      .request(this.#name, steal ? { steal } : { signal: abort.signal }, lead)
      .catch(() => {})
      .then(() => {
        // The lock is gone although nobody here gave it back: another tab took this one for frozen.
        if (this.#resign !== resign) return;
        this.#connection?.close();
        this.#connection = undefined;
        this.#stand(false);
      });
  }

  #lead(): void {
    clearTimeout(this.#patience);
    this.#connection = this.#hooks.connect(
      {
        onBlock: (block) => {
          this.#post({ kind: "block", block });
          this.#hooks.onBlock(block);
        },
        onState: (state, detail) => {
          this.#detail = detail;
          this.#hooks.onState(state, detail);
          this.#tellState();
        },
      },
      this.#seen,
    );
    this.#connection.start();
    this.#tellState();
  }

  #hear(message: TabMessage): void {
    if (this.#connection !== undefined) {
      if (message.kind === "who") this.#tellState();
      else if (message.kind === "recover") this.#connection.recover();
      else if (message.kind === "wake") this.#connection.wake();
      return;
    }
    if (message.kind === "block") {
      this.#bePatient();
      this.#seen = message.block.id ?? this.#seen;
      this.#hooks.onBlock(message.block);
    } else if (message.kind === "state") {
      this.#bePatient();
      this.#seen = message.id ?? this.#seen;
      this.#heard = message;
      this.#hooks.onState(message.state, message.detail);
      this.#hooks.onLeader(message.state, message.id);
    }
  }

  /** Whoever leads speaks with every ping. Hidden tabs leave the question to those that somebody looks at. */
  #bePatient(): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      if (this.#services.isVisible()) this.#askLeader();
      else this.#bePatient();
    }, SILENCE_MS);
  }

  #askLeader(): void {
    clearTimeout(this.#patience);
    this.#post({ kind: "who" });
    this.#patience = setTimeout(() => this.#stand(true), ANSWER_MS);
  }

  #tellState(): void {
    if (this.#connection === undefined) return;
    this.#post({ kind: "state", state: this.#connection.state, detail: this.#detail, id: this.#hooks.position() });
  }

  #post(message: TabMessage): void {
    this.#channel?.postMessage(message);
  }
}

/** A name that tabs share which ask for the same with the same right. Not the token itself: other scripts see names. */
export function tabName(...parts: string[]): string {
  // FNV-1a over 64 bits, as two halves that differ in their beginning.
  const hash = (seed: number) => {
    let value = seed;
    for (const part of parts) {
      for (let i = 0; i <= part.length; i += 1) value = Math.imul(value ^ (part.charCodeAt(i) || 0), 16_777_619);
    }
    return (value >>> 0).toString(16).padStart(8, "0");
  };
  return `systole-feed-${hash(0x811c9dc5)}${hash(0x2f0b4ae3)}`;
}
