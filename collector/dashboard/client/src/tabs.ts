/**
 * One stream for all tabs of a browser. The tab that holds a lock is the leader: it has the connection and sends each
 * message to the other tabs. When it closes, the browser gives the lock to the next tab, which resumes after the last
 * message that it received itself.
 */

import type { Connection, ConnectionHooks, FeedMessage } from "./connection.ts";
import type { FeedState, StateDetail } from "./state.ts";

/** After this silence a tab asks whether its leader still runs: two and a half pings. */
const SILENCE_MS = 25_000;
/** A leader that does not answer in this time is frozen, and another tab takes the lead. */
const ANSWER_MS = 5_000;
/** Version of {@link TabMessage}. Tabs with another version share nothing with this one. */
const PROTOCOL = 2;

/** Where a feed gets its messages from. */
export interface Link {
  start(): void;
  close(): void;
  /** Tries now; see {@link Connection.recover}. */
  recover(): void;
  /** See {@link Connection.wake}. */
  wake(): void;
  /** See {@link Connection.checkLive}. */
  checkLive(): void;
}

/** A message between tabs. */
export type TabMessage =
  | { kind: "feed"; message: FeedMessage }
  | { kind: "state"; state: FeedState; detail: StateDetail; id: string | undefined }
  /** The leader answers with its state. */
  | { kind: "ask" }
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

/** The browser's services. Undefined where there are none, as in pages without TLS and in Node. */
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

export interface TabHooks extends Pick<ConnectionHooks, "onMessage" | "onState"> {
  /** A connection of this tab. `leaderId` is the position of the last leader. */
  connect(hooks: Pick<ConnectionHooks, "onMessage" | "onState">, leaderId: string | undefined): Connection;
  /** The id of this tab's position. */
  position(): string | undefined;
  /** Whether this tab missed messages that a leader at this id has sent. */
  isBehind(id: string | undefined): boolean;
  /** The leader has this state and position. */
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
  /** This tab steals the lock and does not have it yet. */
  #isStealing = false;
  /** The id of the last message that this tab sent as the leader. */
  #sentId: string | undefined;
  #leaderTimer: ReturnType<typeof setTimeout> | undefined;
  #detail: StateDetail = {};
  /** The last id that the leader sent. */
  #leaderId: string | undefined;
  /** The last state that the leader sent. */
  #leaderState: { state: FeedState; detail: StateDetail } | undefined;

  constructor(services: TabServices, name: string, hooks: TabHooks) {
    this.#services = services;
    this.#name = name;
    this.#hooks = hooks;
  }

  start(): void {
    if (this.#channel !== undefined) return;
    this.#channel = this.#services.openChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#onMessage(data);
    this.#leaderState = undefined;
    this.#askLeader();
    this.#campaign(false);
  }

  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
    clearTimeout(this.#leaderTimer);
    this.#connection?.close();
    this.#connection = undefined;
    this.#resign?.();
    this.#resign = undefined;
    this.#isStealing = false;
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

  checkLive(): void {
    if (this.#connection !== undefined) this.#connection.checkLive();
    else if (this.#leaderState !== undefined) {
      this.#hooks.onState(this.#leaderState.state, this.#leaderState.detail);
    }
  }

  /** Waits for the lock, or steals it from a leader that this tab cannot follow. */
  #campaign(steal: boolean): void {
    const abort = new AbortController();
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const resign = () => {
      abort.abort();
      release();
    };
    this.#resign?.();
    this.#resign = resign;
    this.#isStealing = steal;
    const hold = () => {
      if (this.#resign !== resign) return Promise.resolve();
      this.#lead();
      return released;
    };
    this.#services.locks
      .request(this.#name, steal ? { steal } : { signal: abort.signal }, hold)
      .catch(() => {})
      .then(() => {
        // The lock is lost although this tab did not give it back: another tab has stolen it.
        if (this.#resign !== resign) return;
        this.#connection?.close();
        this.#connection = undefined;
        this.#askLeader();
        this.#campaign(false);
      });
  }

  #lead(): void {
    this.#isStealing = false;
    this.#sentId = undefined;
    clearTimeout(this.#leaderTimer);
    this.#connection = this.#hooks.connect(
      {
        onMessage: (message) => {
          this.#post({ kind: "feed", message });
          this.#sentId = message.id ?? this.#sentId;
          this.#hooks.onMessage(message);
        },
        onState: (state, detail) => {
          this.#detail = detail;
          this.#hooks.onState(state, detail);
          this.#postState();
        },
      },
      this.#leaderId,
    );
    this.#connection.start();
    this.#postState();
  }

  #onMessage(message: TabMessage): void {
    if (this.#connection !== undefined) {
      if (message.kind === "ask") this.#postState();
      else if (message.kind === "recover") this.#connection.recover();
      else if (message.kind === "wake") this.#connection.wake();
      return;
    }
    if (this.#isStealing) return;
    if (message.kind === "feed") {
      // Messages may have been sent while this tab was suspended. The answer to `ask` says whether there were some.
      if (this.#leaderState === undefined) return;
      this.#watchLeader();
      this.#leaderId = message.message.id ?? this.#leaderId;
      this.#hooks.onMessage(message.message);
    } else if (message.kind === "state") {
      // As the leader, this tab resumes at its own position. The other tabs drop what they have received already.
      if (this.#hooks.isBehind(message.id)) {
        this.#campaign(true);
        return;
      }
      this.#watchLeader();
      this.#leaderId = message.id ?? this.#leaderId;
      this.#leaderState = message;
      this.#hooks.onState(message.state, message.detail);
      this.#hooks.onLeader(message.state, message.id);
    }
  }

  /** The leader sends something with every ping. Hidden tabs leave it to visible ones to ask. */
  #watchLeader(): void {
    clearTimeout(this.#leaderTimer);
    this.#leaderTimer = setTimeout(() => {
      if (this.#services.isVisible()) this.#askLeader();
      else this.#watchLeader();
    }, SILENCE_MS);
  }

  #askLeader(): void {
    clearTimeout(this.#leaderTimer);
    this.#post({ kind: "ask" });
    this.#leaderTimer = setTimeout(() => this.#campaign(true), ANSWER_MS);
  }

  #postState(): void {
    if (this.#connection === undefined) return;
    // The position of a tab that waits for a snapshot is behind what it has sent.
    const id = this.#sentId ?? this.#hooks.position();
    this.#post({ kind: "state", state: this.#connection.state, detail: this.#detail, id });
  }

  #post(message: TabMessage): void {
    this.#channel?.postMessage(message);
  }
}

/** A name for tabs that ask for the same with the same right. It does not show the token, because names are public. */
export function tabName(...parts: string[]): string {
  // FNV-1a over 64 bits, as two halves with different seeds.
  const hash = (seed: number) => {
    let value = seed;
    for (const part of parts) {
      for (let i = 0; i <= part.length; i += 1) value = Math.imul(value ^ (part.charCodeAt(i) || 0), 16_777_619);
    }
    return (value >>> 0).toString(16).padStart(8, "0");
  };
  return `systole-feed-${PROTOCOL}-${hash(0x811c9dc5)}${hash(0x2f0b4ae3)}`;
}
