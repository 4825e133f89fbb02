/** The whole: a feed that is opened, kept, and told to whoever asked for it. */

import { Connection, type ConnectionHooks } from "./connection.ts";
import { fetchTransport } from "./fetch_transport.ts";
import { nativeTransport } from "./native_transport.ts";
import { type ConnectOptions, streamUrl, withSnapshot } from "./options.ts";
import { watchPage } from "./page.ts";
import { POLL_MS, Poller } from "./poller.ts";
import { Position } from "./position.ts";
import { Receiver } from "./receiver.ts";
import { SnapshotFetch } from "./snapshot_fetch.ts";
import type { FeedState, StateDetail } from "./state.ts";
import { type Link, TabLink, type TabServices, tabName, tabServices } from "./tabs.ts";
import type { OpenStream } from "./transport.ts";
import type { AnyEvent, Gap, Reset } from "./wire.ts";

const CLIENT = "systole-client/0.1.0";

/** An open feed. */
export interface Feed {
  readonly state: FeedState;
  /** The id of the last event that was delivered. Keep it, and a later `connect({after})` goes on behind it. */
  readonly lastEventId: string | undefined;
  /** Tries to connect now: after `failed`, or instead of waiting for the next try. */
  recover(): void;
  /** Has the state delivered anew, as a `snapshot` event. */
  takeSnapshot(): void;
  /** Ends the feed; nothing is delivered any more. */
  close(): void;
}

/** Opens the feed and keeps it open. Throws when the options contradict each other; what the network does, `onState` tells. */
export function connect(options: ConnectOptions): Feed {
  const services = shouldShare(options) ? tabServices() : undefined;
  return new OpenFeed(options, openStream(options), services);
}

function shouldShare(options: ConnectOptions): boolean {
  return options.after === undefined && (options.share ?? typeof document !== "undefined");
}

function openStream(options: ConnectOptions): OpenStream {
  const fetch = options.fetch ?? ((...args) => globalThis.fetch(...args));
  if (options.mode !== "eventsource") {
    return fetchTransport({ token: options.token, client: options.client ?? CLIENT, fetch });
  }
  if (options.token !== undefined) throw new TypeError("EventSource cannot send a token: use mode fetch, or a session");
  const { EventSource } = globalThis;
  if (EventSource === undefined) throw new TypeError("there is no EventSource here: use mode fetch");
  return nativeTransport({ EventSource, fetch });
}

/** Exported for tests of tabs, which bring services of their own. */
export class OpenFeed implements Feed {
  readonly #options: ConnectOptions;
  readonly #url: URL;
  readonly #position: Position;
  readonly #receiver: Receiver;
  readonly #snapshots: SnapshotFetch;
  readonly #poller: Poller | undefined;
  readonly #link: Link;
  readonly #unwatch: () => void;
  #state: FeedState = "connecting";
  #lastEventId: string | undefined;
  #detail: StateDetail = {};
  #isClosed = false;
  #isSuspended = false;
  /** A gap's snapshot had to be put off. */
  #owesSnapshot = false;

  constructor(options: ConnectOptions, open: OpenStream, services: TabServices | undefined) {
    this.#options = options;
    this.#url = streamUrl(options);
    this.#position = new Position(options.snapshot ?? true, options.after);
    this.#lastEventId = this.#position.id;
    this.#receiver = new Receiver(this.#position, {
      deliver: (event, id) => this.#deliver(event, id),
      onMissing: (missing) => this.#onMissing(missing),
      onHoldEnd: () => this.#snapshots.stop(),
    });
    this.#snapshots = new SnapshotFetch(open, {
      url: withSnapshot(this.#url),
      onBegin: () => this.#receiver.hold(),
      onSnapshot: (event, id) => {
        this.#receiver.release({ event, id });
        this.#link.settle();
      },
      onFailure: () => {
        this.#receiver.release();
        this.#link.settle();
      },
    });
    const { poll } = options;
    this.#poller = poll && new Poller(() => poll(), Math.min(options.pollMs ?? POLL_MS, POLL_MS));
    this.#link = services === undefined ? this.#connection(open, this.#hooks()) : this.#tabLink(open, services);
    this.#unwatch = watchPage({
      wake: () => this.#link.wake(),
      suspend: () => this.#suspend(),
      resume: () => this.#resume(),
    });
    this.#poller?.start();
    this.#link.start();
  }

  get state(): FeedState {
    return this.#state;
  }

  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  recover(): void {
    if (!this.#isClosed) this.#link.recover();
  }

  takeSnapshot(): void {
    if (!this.#isClosed) this.#snapshots.start();
  }

  close(): void {
    this.#isClosed = true;
    this.#unwatch();
    this.#link.close();
    this.#snapshots.stop();
    this.#poller?.stop();
  }

  #suspend(): void {
    this.#isSuspended = true;
    this.#putSnapshotOff();
    this.#link.close();
  }

  #resume(): void {
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    this.#link.start();
  }

  #connection(open: OpenStream, hooks: Pick<ConnectionHooks, "onBlock" | "onState">, seen?: string): Connection {
    const request = () => {
      const { id, needsSnapshot } = this.#position;
      if (!needsSnapshot) return { url: this.#url, after: id };
      // Another tab's place is where the others go on, too; this one's snapshot comes beside the stream.
      if (seen !== undefined && this.#snapshots.isUnderWay) return { url: this.#url, after: seen };
      return { url: withSnapshot(this.#url), after: undefined };
    };
    const hasReached = (seq: number) => this.#position.hasReached(seq);
    return new Connection(open, { ...hooks, request, hasReached }, this.#state !== "connecting");
  }

  #hooks(): Pick<ConnectionHooks, "onBlock" | "onState"> {
    return {
      onBlock: (block) => this.#receiver.receive(block),
      onState: (state, detail) => this.#onState(state, detail),
    };
  }

  #tabLink(open: OpenStream, services: TabServices): TabLink {
    const { token = "", mode = "fetch", snapshot = true } = this.#options;
    const name = tabName(this.#url.href, token, mode, String(snapshot));
    return new TabLink(services, name, {
      ...this.#hooks(),
      hasReached: (seq) => this.#position.hasReached(seq),
      connect: (hooks, seen) => this.#connection(open, hooks, seen),
      position: () => this.#position.id,
      onLeader: (state, id) => {
        // A tab that comes later fetches the state for itself, and takes the events from the one that leads.
        if (state === "live" && this.#position.needsSnapshot && !this.#snapshots.isUnderWay) this.takeSnapshot();
        else if (this.#position.id === undefined) this.#position.moveTo(id);
      },
    });
  }

  /** Nothing is held back for a snapshot that will not come before the feed is live again. */
  #putSnapshotOff(): void {
    if (!this.#snapshots.isUnderWay) return;
    this.#snapshots.stop();
    this.#receiver.release();
    // Whoever has no state yet asks for it anyway.
    this.#owesSnapshot = !this.#position.needsSnapshot;
  }

  #deliver(event: AnyEvent, id: string | undefined): void {
    if (this.#isClosed) return;
    tellSafely(() => this.#options.onEvent(event, { id }));
    this.#lastEventId = id ?? this.#lastEventId;
  }

  #onState(reached: FeedState, detail: StateDetail): void {
    // The tab that leads may be further than this one.
    const state = reached === "live" && this.#position.needsSnapshot ? "replaying" : reached;
    // The tab that leads says how it is whenever another one asks.
    const isNews = state !== this.#state || detail.reason !== this.#detail.reason;
    if (this.#isClosed || !(isNews || detail.retryInMs !== this.#detail.retryInMs)) return;
    this.#state = state;
    this.#detail = detail;
    if (state === "live") {
      this.#poller?.stop();
    } else {
      this.#poller?.start();
      if (detail.reason !== undefined) this.#poller?.urge();
    }
    if (state === "failed") this.#putSnapshotOff();
    if (state === "live" && this.#owesSnapshot) {
      this.#owesSnapshot = false;
      this.takeSnapshot();
    }
    tellSafely(() => this.#options.onState?.(state, detail));
  }

  #onMissing(missing: Gap | Reset): void {
    const { onGap, onReset } = this.#options;
    if (missing.type === "reset" && onReset !== undefined) tellSafely(() => onReset(missing, this));
    else if (onGap !== undefined) tellSafely(() => onGap(missing, this));
    else if (missing.type === "gap") this.takeSnapshot();
  }
}

/** A mistake in a handler is told where uncaught ones are told, and costs neither the stream nor other events. */
function tellSafely(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else
      queueMicrotask(() => {
        throw error;
      });
  }
}
