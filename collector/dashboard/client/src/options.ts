import type { Feed } from "./connect.ts";
import type { TokenProvider } from "./credentials.ts";
import type { FeedState, StateDetail } from "./state.ts";
import {
  type AnyEvent,
  EVENT_TYPES,
  type EventType,
  type Gap,
  type NodeId,
  type PipelineId,
  type Reset,
} from "./wire.ts";

/** Where the collector is, and how requests to it are made. */
export interface RequestOptions {
  /**
   * The collector's address, such as `https://collector.example`. In a page it may be relative. A list has the addresses
   * of a cluster's collectors: one is in use, and the next one after it has failed.
   */
  url: string | URL | readonly (string | URL)[];
  /**
   * A viewer's or admin's token, or a function that returns one; see {@link TokenProvider}. Without it a browser sends
   * its session's cookie, to its own origin only.
   */
  token?: string | TokenProvider | undefined;
  /** Name and version of the program, for the collector's log. Default: those of this library. */
  client?: string | undefined;
  /** Used instead of the global one. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * What the feed sends, and the handlers of it.
 *
 * Handlers of events are called in order: one that returns a promise has finished before the next is called. When
 * 10,000 calls wait for a slow handler, the stream is closed, and opened again after the last of them.
 */
export interface ConnectOptions extends RequestOptions {
  /** Types of events. Default: all. */
  types?: readonly EventType[] | undefined;
  /** Name or id of one environment. Default: all that the token sees. */
  environment?: string | undefined;
  /** Only these nodes. */
  nodes?: readonly NodeId[] | undefined;
  /** Only these pipelines. Events of nodes are left out then. */
  pipelines?: readonly PipelineId[] | undefined;
  /** How long `fleet_status`, `fleet_totals` and `metric_update` may wait for a newer one: 0 to 60000 ms. Default: 250. */
  every?: number | undefined;
  /** Whether the state is sent first; `nodes`: without pipelines and samples. Default: true. */
  snapshot?: boolean | "nodes" | undefined;
  /** Resume after this id, which `onPosition` or `Feed.lastEventId` gave. Such a feed is not shared between tabs. */
  after?: string | undefined;

  /** Called for each event, once and in order, control events included. */
  onEvent(event: AnyEvent, context: EventContext): unknown;
  /**
   * Everything up to this id was handled: save it, and resume with `after`. Called in order with the events. Not called
   * any more after a handler of an event has failed, so that a later run handles that event again.
   */
  onPosition?: ((id: string) => unknown) | undefined;
  /** The state changed, or another wait begins. Called at once, also while another handler runs. */
  onState?: ((state: FeedState, detail: StateDetail) => unknown) | undefined;
  /** Events are missing. Default: a snapshot is fetched. After a reset a snapshot follows in any case. */
  onGap?: ((missing: Gap | Reset, feed: Feed) => unknown) | undefined;
  /** Nothing known is valid any more: the database is another one. Default: `onGap` is called. */
  onReset?: ((reset: Reset, feed: Feed) => unknown) | undefined;
  /** Called when the stream is lost, and then every `pollMs` until the feed is live: a way to fetch the state. */
  poll?: (() => unknown) | undefined;
  /** Default and at most: 30000. */
  pollMs?: number | undefined;

  /** `fetch` (default) sees more and can send a token; `eventsource` is the browser's own. */
  mode?: "fetch" | "eventsource" | undefined;
  /**
   * Whether tabs that ask for the same with the same token share one connection. Default: in pages, if the browser can.
   * With a function as `token` nothing is shared, unless a text is given here: tabs with the same text share.
   */
  share?: boolean | string | undefined;
}

export interface EventContext {
  /** The event's id. Control events have none, and some conflated events have none. */
  id: string | undefined;
}

/** The address of a path of the collector. The address of the feed is also accepted as the collector's. */
export function collectorUrl(collector: string | URL, path: string): URL {
  const url = new URL(collector, typeof location === "undefined" ? undefined : location.href);
  url.pathname = url.pathname.replace(/(\/api\/v1\/events)?\/*$/, path);
  return url;
}

/** The addresses of the collectors with a path. */
export function collectorUrls({ url }: RequestOptions, path: string): URL[] {
  const urls = typeof url === "string" || url instanceof URL ? [url] : url;
  return urls.map((url) => collectorUrl(url, path));
}

/** The addresses of a stream, one for each collector. */
export function streamUrls(options: ConnectOptions): URL[] {
  return collectorUrls(options, "/api/v1/events").map((url) => streamUrl(url, options));
}

function streamUrl(url: URL, options: ConnectOptions): URL {
  for (const type of options.types ?? []) {
    if (!EVENT_TYPES.includes(type)) {
      throw new TypeError(`types: invalid type ${JSON.stringify(type)}, expected one of ${EVENT_TYPES.join(", ")}`);
    }
  }
  if (options.types !== undefined) url.searchParams.set("types", options.types.join(","));
  if (options.environment !== undefined) url.searchParams.set("environment", options.environment);
  for (const node of options.nodes ?? []) url.searchParams.append("node", node);
  for (const pipeline of options.pipelines ?? []) url.searchParams.append("pipeline", pipeline);
  if (options.every !== undefined) url.searchParams.set("every", String(options.every));
  return url;
}

/** The same address, with the state first. */
export function withSnapshot(url: URL, snapshot: boolean | "nodes" = true): URL {
  const result = new URL(url);
  result.searchParams.set("snapshot", snapshot === "nodes" ? "nodes" : "1");
  return result;
}
