import type { Feed } from "./connect.ts";
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

/** What the feed is asked for, and who is told what comes. */
export interface ConnectOptions {
  /** The collector's address, as `https://collector.example`; in a page also a relative one. */
  url: string | URL;
  /** A viewer's or admin's token. Without one a browser sends its session's cookie, to its own origin only. */
  token?: string;
  /** Types of events; all without it. */
  types?: readonly EventType[];
  /** Of one environment only, by name or id. */
  environment?: string;
  /** Of these nodes only. */
  nodes?: readonly NodeId[];
  /** Of these pipelines only; events of nodes are left out then. */
  pipelines?: readonly PipelineId[];
  /** How long `fleet_status` and `metric_update` may wait for a newer one: 0 to 60000 ms, 250 without it. */
  every?: number;
  /** Whether the state comes first. Default: true. */
  snapshot?: boolean;
  /** Go on behind this id, which `Feed.lastEventId` gave before. Such a feed is not shared between tabs. */
  after?: string;

  /** Each event once and in order, control events included. */
  onEvent(event: AnyEvent, context: EventContext): void;
  /** The state changed, or another wait begins. */
  onState?(state: FeedState, detail: StateDetail): void;
  /** Events are missing. Without it a snapshot is taken. After a reset one follows in any case. */
  onGap?(missing: Gap | Reset, feed: Feed): void;
  /** Nothing known holds any more: the database is another one. Without it `onGap` is told. */
  onReset?(reset: Reset, feed: Feed): void;
  /** Called at once and then every `pollMs` while the feed has lost its stream, to ask by other means. */
  poll?(): unknown;
  /** Default and at most: 30000. */
  pollMs?: number;

  /** `fetch` (default) sees more and can send a token; `eventsource` is the browser's own. */
  mode?: "fetch" | "eventsource";
  /** Whether tabs that ask for the same share one connection. Default: in pages, where the browser can. */
  share?: boolean;
  /** Name and version of the program, for the collector's log. Default: this library's. */
  client?: string;
  /** In place of the global one. */
  fetch?: typeof globalThis.fetch;
}

export interface EventContext {
  /** The event's id. Control events have none, and neither have some of which only the newest counts. */
  id: string | undefined;
}

/** The address of a stream. */
export function streamUrl(options: ConnectOptions): URL {
  const base = typeof location === "undefined" ? undefined : location.href;
  const url = new URL(options.url, base);
  if (!url.pathname.endsWith("/api/v1/events")) url.pathname = url.pathname.replace(/\/*$/, "/api/v1/events");
  for (const type of options.types ?? []) {
    if (!EVENT_TYPES.includes(type))
      throw new TypeError(`${JSON.stringify(type)} is none of ${EVENT_TYPES.join(", ")}`);
  }
  if (options.types !== undefined) url.searchParams.set("types", options.types.join(","));
  if (options.environment !== undefined) url.searchParams.set("environment", options.environment);
  for (const node of options.nodes ?? []) url.searchParams.append("node", node);
  for (const pipeline of options.pipelines ?? []) url.searchParams.append("pipeline", pipeline);
  if (options.every !== undefined) url.searchParams.set("every", String(options.every));
  return url;
}

/** The same with the state first. */
export function withSnapshot(url: URL): URL {
  const asking = new URL(url);
  asking.searchParams.set("snapshot", "1");
  return asking;
}
