/** The whole feed: it is opened, kept open, and delivered to the handlers. */

import { Addresses } from "./addresses.ts";
import { Connection, type ConnectionHooks } from "./connection.ts";
import { Credentials } from "./credentials.ts";
import { fetchTransport } from "./fetch_transport.ts";
import { callHandler, HandlerQueue, isThenable, MAX_PENDING_CALLS, reportUncaught } from "./handler_queue.ts";
import { nativeTransport } from "./native_transport.ts";
import { type ConnectOptions, streamUrls, withSnapshot } from "./options.ts";
import { watchPage } from "./page.ts";
import { POLL_MS, Poller } from "./poller.ts";
import { Position } from "./position.ts";
import { Receiver } from "./receiver.ts";
import { SnapshotFetch } from "./snapshot_fetch.ts";
import type { FeedState, StateDetail } from "./state.ts";
import { type Link, TabLink, type TabServices, tabName, tabServices } from "./tabs.ts";
import type { OpenStream } from "./transport.ts";
import { CLIENT } from "./version.ts";
import type { AnyEvent, Gap, Reset } from "./wire.ts";

/** An open feed. */
export interface Feed {
  readonly state: FeedState;
  /** Everything up to this id was handled. A later `connect({after})` resumes there. See `onPosition`. */
  readonly lastEventId: string | undefined;
  /** Tries to connect now: after `failed`, or instead of waiting for the next attempt. */
  recover(): void;
  /** Fetches the state again, as a `snapshot` event. */
  takeSnapshot(): void;
  /** Ends the feed: no event is delivered any more. The promise is fulfilled when the handler that runs has finished. */
  close(): Promise<void>;
}

/** Opens the feed and keeps it open. Throws when options are invalid; `onState` reports what the network does. */
export function connect(options: ConnectOptions): Feed {
  const credentials = new Credentials(options.token);
  const services = shouldShare(options) ? tabServices() : undefined;
  return new OpenFeed(options, openStream(options, credentials), services, credentials);
}

function shouldShare({ after, share, token }: ConnectOptions): boolean {
  if (share === true && typeof token === "function") {
    throw new TypeError("share: with a function as token, give a text that is the same in tabs with the same right");
  }
  const isShared = share ?? (typeof document !== "undefined" && typeof token !== "function");
  return after === undefined && isShared !== false;
}

function openStream(options: ConnectOptions, credentials: Credentials): OpenStream {
  const fetch = options.fetch ?? ((...args) => globalThis.fetch(...args));
  if (options.mode !== "eventsource") {
    return fetchTransport({ credentials, client: options.client ?? CLIENT, fetch });
  }
  if (typeof options.token === "string") {
    throw new TypeError("token: EventSource cannot send a token, use mode fetch or a session");
  }
  const { EventSource } = globalThis;
  if (EventSource === undefined) throw new TypeError("mode: there is no EventSource here, use mode fetch");
  return nativeTransport({ EventSource, fetch, credentials });
}

/** Why a feed has no stream although it is not closed. */
type Pause = "page" | "handlers";

/** Exported for tests of tabs, which bring services of their own. */
export class OpenFeed implements Feed {
  readonly #options: ConnectOptions;
  readonly #credentials: Credentials;
  readonly #addresses: Addresses;
  readonly #position: Position;
  readonly #receiver: Receiver;
  readonly #snapshots: SnapshotFetch;
  readonly #poller: Poller | undefined;
  readonly #link: Link;
  readonly #calls: HandlerQueue;
  readonly #unwatch: () => void;
  readonly #pauses = new Set<Pause>();
  #state: FeedState = "connecting";
  #lastEventId: string | undefined;
  #detail: StateDetail = {};
  #isClosed = false;
  /** A handler of an event has failed, so the position stays before that event. */
  #hasFailed = false;
  /** The snapshot after a gap is still to be fetched. */
  #owesSnapshot = false;

  constructor(
    options: ConnectOptions,
    open: OpenStream,
    services: TabServices | undefined,
    credentials = new Credentials(options.token),
  ) {
    this.#options = options;
    this.#credentials = credentials;
    this.#addresses = new Addresses(streamUrls(options));
    this.#position = new Position(options.snapshot !== false, options.after);
    this.#lastEventId = this.#position.id;
    this.#calls = new HandlerQueue({
      onError: (error) => {
        this.#hasFailed = true;
        reportUncaught(error);
      },
      onFull: () => this.#pauseForHandlers(),
      onDrained: () => this.#resume("handlers"),
    });
    this.#receiver = new Receiver(this.#position, {
      deliver: (event, id, position) => this.#deliver(event, id, position),
      onPosition: (position) => this.#calls.push(() => this.#savePosition(position)),
      onMissing: (missing) => this.#onMissing(missing),
      onHoldEnd: () => this.#snapshots.stop(),
      onHoldFull: () => this.#snapshots.retryLater(),
    });
    this.#snapshots = new SnapshotFetch(open, {
      url: () => withSnapshot(this.#addresses.inUse, this.#options.snapshot),
      canRenewToken: credentials.canRenew,
      onBegin: () => this.#receiver.hold(),
      onSnapshot: (event, id) => {
        this.#receiver.release({ event, id });
        this.#link.checkLive();
      },
      onFailure: () => {
        this.#receiver.release();
        this.#link.checkLive();
      },
    });
    const { poll } = options;
    this.#poller = poll && new Poller(() => poll(), Math.min(options.pollMs ?? POLL_MS, POLL_MS));
    this.#link = services === undefined ? this.#connection(open, this.#hooks()) : this.#tabLink(open, services);
    this.#unwatch = watchPage({
      wake: () => {
        if (this.#pauses.size === 0) this.#link.wake();
      },
      suspend: () => this.#pause("page"),
      resume: () => this.#resume("page"),
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
    if (!this.#isClosed && this.#pauses.size === 0) this.#link.recover();
  }

  takeSnapshot(): void {
    if (this.#isClosed) return;
    if (this.#pauses.size === 0) this.#snapshots.start();
    else this.#owesSnapshot = true;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#unwatch();
    this.#link.close();
    this.#snapshots.stop();
    this.#poller?.stop();
    return this.#calls.close();
  }

  #pause(reason: Pause): void {
    this.#pauses.add(reason);
    this.#postponeSnapshot();
    this.#link.close();
  }

  #resume(reason: Pause): void {
    if (this.#isClosed || !this.#pauses.delete(reason) || this.#pauses.size > 0) return;
    this.#link.start();
  }

  /** Memory is bounded: what the stream would bring now, another one brings after the calls that wait. */
  #pauseForHandlers(): void {
    this.#pause("handlers");
    this.#onState("stale", { reason: `the handlers are too slow: ${MAX_PENDING_CALLS} calls wait` });
  }

  #connection(open: OpenStream, hooks: Pick<ConnectionHooks, "onMessage" | "onState">, leaderId?: string): Connection {
    const request = () => {
      const { id, needsSnapshot } = this.#position;
      const url = this.#addresses.inUse;
      if (!needsSnapshot) return { url, after: id };
      // The other tabs continue after the last leader's position. This tab's snapshot has a stream of its own.
      if (leaderId !== undefined && this.#snapshots.isActive) return { url, after: leaderId };
      return { url: withSnapshot(url, this.#options.snapshot), after: undefined };
    };
    const hasReached = (seq: number) => this.#position.hasReached(seq);
    const { canRenew: canRenewToken } = this.#credentials;
    const addresses = this.#addresses.count > 1 ? this.#addresses : undefined;
    const all = { ...hooks, request, hasReached, canRenewToken, addresses };
    return new Connection(open, all, this.#state !== "connecting");
  }

  #hooks(): Pick<ConnectionHooks, "onMessage" | "onState"> {
    return {
      onMessage: (message) => this.#receiver.receive(message),
      onState: (state, detail) => this.#onState(state, detail),
    };
  }

  #tabLink(open: OpenStream, services: TabServices): TabLink {
    const { token, share, mode = "fetch", snapshot = true } = this.#options;
    const right = typeof share === "string" ? `share ${share}` : String(token ?? "");
    const name = tabName(this.#addresses.name, right, mode, String(snapshot));
    return new TabLink(services, name, {
      ...this.#hooks(),
      connect: (hooks, leaderId) => this.#connection(open, hooks, leaderId),
      position: () => this.#position.id,
      isBehind: (id) => !this.#receiver.isHolding && this.#position.isBehind(id),
      onLeader: (state, id) => {
        // A later tab fetches the state itself, and receives events from the leader.
        if (state === "live" && this.#position.needsSnapshot && !this.#snapshots.isActive) this.takeSnapshot();
        else if (this.#position.id === undefined) this.#position.advanceTo(id);
      },
    });
  }

  /** The snapshot cannot be fetched before the feed is live again: nothing is held back for it. */
  #postponeSnapshot(): void {
    if (!this.#snapshots.isActive) return;
    this.#snapshots.stop();
    this.#receiver.release();
    // A feed without a state asks for one with its next stream.
    this.#owesSnapshot = !this.#position.needsSnapshot;
  }

  #deliver(event: AnyEvent, id: string | undefined, position: string | undefined): void {
    if (this.#isClosed) return;
    this.#calls.push(() => {
      const handled = this.#options.onEvent(event, { id });
      if (!isThenable(handled)) return this.#savePosition(position);
      return handled.then(() => this.#savePosition(position));
    });
  }

  /** Everything up to this position was handled. */
  #savePosition(position: string | undefined): unknown {
    if (position === undefined || this.#hasFailed || position === this.#lastEventId) return undefined;
    this.#lastEventId = position;
    return this.#options.onPosition?.(position);
  }

  #onState(reached: FeedState, detail: StateDetail): void {
    // The leader tab may be further than this one.
    const state = reached === "live" && this.#position.needsSnapshot ? "replaying" : reached;
    // The leader sends its state whenever another tab asks.
    const hasChanged = state !== this.#state || detail.reason !== this.#detail.reason;
    if (this.#isClosed || !(hasChanged || detail.retryInMs !== this.#detail.retryInMs)) return;
    this.#state = state;
    this.#detail = detail;
    if (state === "live") {
      this.#poller?.stop();
    } else {
      this.#poller?.start();
      if (detail.reason !== undefined) this.#poller?.pollNow();
    }
    if (state === "failed") this.#postponeSnapshot();
    if (state === "live" && this.#owesSnapshot) {
      this.#owesSnapshot = false;
      this.takeSnapshot();
    }
    callHandler(() => this.#options.onState?.(state, detail));
  }

  #onMissing(missing: Gap | Reset): void {
    if (this.#isClosed) return;
    const { onGap, onReset } = this.#options;
    if (missing.type === "reset" && onReset !== undefined) this.#calls.push(() => onReset(missing, this));
    else if (onGap !== undefined) this.#calls.push(() => onGap(missing, this));
    else if (missing.type === "gap") this.takeSnapshot();
  }
}
