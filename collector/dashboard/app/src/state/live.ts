/**
 * Rates and last reports of what is in view: one stream for the nodes or pipelines that a view names. The stream is closed
 * while the page is hidden, and what it brings is written at most four times a second.
 */

import { signal } from "@preact/signals";
import {
  type ComponentSample,
  connect,
  type EventOf,
  type Feed,
  type MetricUpdate,
  type NodeId,
  pipelineKey,
} from "@systole/client";
import { CLIENT, sessionFetch } from "../api/http.ts";
import { collectorNow } from "./clock.ts";
import { environment } from "./session.ts";

/** Points of a sparkline: five minutes of reports. */
export const KEPT_POINTS = 60;
const FLUSH_MS = 250;
/** Changes of what is in view are gathered, so that scrolling does not open a stream for each row. */
const SETTLE_MS = 300;
/** Pipelines in view that may report at once; above it their rates come less often. */
const PIPELINES_PER_SECOND = 20;
const HIDDEN_MS = 10_000;
/** Pipelines on nodes that are remembered, so that a person who scrolls through a large fleet does not fill the memory. */
const MAX_REMEMBERED = 3_000;
/** Four reports in a row. */
const FRESH_MS = 20_000;

export interface Point {
  at: number;
  in: number;
  out: number;
  errors: number;
  discarded: number;
}

const points = new Map<string, Point[]>();
const latest = new Map<string, MetricUpdate>();
const lastSeen = new Map<NodeId, number>();
const statuses = new Map<NodeId, string>();

/** Counts what was written of the maps above. */
export const liveVersion = signal(0);

export function pointsOf(nodeId: NodeId, pipelineId: string): readonly Point[] {
  return points.get(pipelineKey(nodeId, pipelineId)) ?? [];
}

/** The last rates, while they say something about now: a pipeline that has crashed reports none, which is not zero. */
export function latestOf(nodeId: NodeId, pipelineId: string): MetricUpdate | undefined {
  const update = latest.get(pipelineKey(nodeId, pipelineId));
  return update !== undefined && isFresh(update.timestamp) ? update : undefined;
}

/** The components of the last report that had some. */
export function componentsOf(nodeId: NodeId, pipelineId: string): readonly ComponentSample[] {
  return latest.get(pipelineKey(nodeId, pipelineId))?.components ?? [];
}

export function isFresh(timestamp: number): boolean {
  return collectorNow() - timestamp < FRESH_MS + everyMs;
}

/** The state of a node that is followed; undefined of others. */
export function liveStatusOf(nodeId: NodeId): string | undefined {
  return statuses.get(nodeId);
}

export function lastSeenOf(nodeId: NodeId): number | undefined {
  return lastSeen.get(nodeId);
}

const changeListeners = new Set<(change: EventOf<"status_change">) => void>();

/** Calls `listener` for changes of what is followed, also while the main stream has none. */
export function onWatchedChange(listener: (change: EventOf<"status_change">) => void): () => void {
  changeListeners.add(listener);
  return () => void changeListeners.delete(listener);
}

/** Adds what a query knows of the past, before the points that came live. */
export function addPast(nodeId: NodeId, pipelineId: string, past: readonly Point[]): void {
  const key = pipelineKey(nodeId, pipelineId);
  const known = points.get(key) ?? [];
  const first = known[0]?.at ?? Number.POSITIVE_INFINITY;
  points.set(key, [...past.filter(({ at }) => at < first), ...known].slice(-KEPT_POINTS));
  flush();
}

let isFlushing = false;
function flush(): void {
  if (isFlushing) return;
  isFlushing = true;
  setTimeout(() => {
    isFlushing = false;
    liveVersion.value += 1;
  }, FLUSH_MS);
}

function take(update: MetricUpdate): void {
  const key = pipelineKey(update.nodeId, update.pipelineId);
  const known = points.get(key) ?? [];
  if ((known.at(-1)?.at ?? 0) < update.timestamp) {
    const { receivedEventsRate, sentEventsRate, errorsRate, discardedRate } = update.sample;
    const point = {
      at: update.timestamp,
      in: receivedEventsRate,
      out: sentEventsRate,
      errors: errorsRate,
      discarded: discardedRate,
    };
    points.set(key, [...known.slice(-KEPT_POINTS + 1), point]);
  }
  // A snapshot's samples have no components.
  const before = latest.get(key);
  const components = update.components.length === 0 ? (before?.components ?? []) : update.components;
  latest.set(key, { ...update, components });
  flush();
}

export interface Watched {
  nodes?: readonly string[];
  pipelines?: readonly string[];
  /** How many pipelines report there, which decides how often each is sent. */
  pipelineCount: number;
}

let watched: Watched | undefined;
let feed: Feed | undefined;
let opened = "";
/** How long a rate may wait for a newer one. */
let everyMs = 0;
let settleTimer: ReturnType<typeof setTimeout> | undefined;
let hiddenTimer: ReturnType<typeof setTimeout> | undefined;

/** Follows these until another call; undefined ends it. */
export function watch(next: Watched | undefined): void {
  watched = next;
  clearTimeout(settleTimer);
  settleTimer = setTimeout(apply, next === undefined ? 0 : SETTLE_MS);
}

function apply(): void {
  const wanted = document.visibilityState === "hidden" && feed === undefined ? undefined : watched;
  const name = wanted === undefined ? "" : JSON.stringify([wanted.nodes, wanted.pipelines, environment.value]);
  if (name === opened) return;
  opened = name;
  void feed?.close();
  feed = wanted === undefined || isEmpty(wanted) ? undefined : open(wanted);
}

function isEmpty({ nodes = [], pipelines = [] }: Watched): boolean {
  return nodes.length === 0 && pipelines.length === 0;
}

/** Called when the past of pipelines is not known any more. */
let onForget: () => void = () => {};
export function whenForgotten(listener: () => void): void {
  onForget = listener;
}

function open({ nodes, pipelines, pipelineCount }: Watched): Feed {
  if (points.size > MAX_REMEMBERED) {
    points.clear();
    latest.clear();
    onForget();
  }
  statuses.clear();
  everyMs = Math.min(60_000, Math.max(1_000, Math.round((pipelineCount / PIPELINES_PER_SECOND) * 1_000)));
  return connect({
    url: "./",
    client: CLIENT,
    fetch: sessionFetch,
    types: ["fleet_status", "metric_update", "status_change"],
    environment: environment.value,
    nodes,
    pipelines,
    every: everyMs,
    onEvent(event) {
      if (event.type === "metric_update") take(event);
      else if (event.type === "status_change") for (const listener of changeListeners) listener(event);
      else if (event.type === "fleet_status") {
        if (event.status !== "UNREACHABLE") lastSeen.set(event.nodeId, event.timestamp);
        statuses.set(event.nodeId, event.status);
        flush();
      } else if (event.type === "snapshot") {
        for (const { nodeId, lastSeenAt } of event.nodes ?? [])
          if (lastSeenAt !== null) lastSeen.set(nodeId, lastSeenAt);
        for (const sample of event.samples ?? []) take(sample);
        flush();
      }
    },
  });
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.visibilityState === "visible") return apply();
  hiddenTimer = setTimeout(() => {
    void feed?.close();
    feed = undefined;
    opened = "";
  }, HIDDEN_MS);
});
