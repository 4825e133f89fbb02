/**
 * Every node with its name and state, in the order of names. It is read in one compact answer; changes of the stream are
 * applied to it, and where a change leaves a doubt the answer is read again.
 */

import { signal } from "@preact/signals";
import type { EventOf, FleetMap, NodeId, NodeStatus, PipelineStatus } from "@systole/client";
import { queries } from "../api/http.ts";
import { environment } from "./session.ts";
import { rankOf, type Tone, toneOf, worse } from "./status.ts";

export interface NodeSummary {
  readonly id: NodeId;
  readonly name: string;
  readonly status: NodeStatus;
  /** The worst state of its pipelines; null without a pipeline. */
  readonly worst: PipelineStatus | null;
  /** The worst of the node and its pipelines. */
  readonly tone: Tone;
}

/** The page is written at most this often, and a large fleet, whose map takes long to draw, less often. */
const FLUSH_MS = 250;
const LARGE_FLUSH_MS = 1_000;
/** Of up to this many nodes the answer is a few kilobytes, and read as soon as a change leaves a doubt. */
const LARGE = 500;
const READ_AGAIN_MS = 300;
const LARGE_READ_AGAIN_MS = 10_000;
/** The answer has about 30 bytes a node: of ten thousand nodes it is read every 20 s. */
const READ_AGAIN_MS_PER_NODE = 2;
/** Without a doubt it is read this often, in case of a change that no event says. */
const MAX_AGE_MS = 5 * 60_000;

/** In the order of names. */
export const nodes = signal<readonly NodeSummary[]>([]);
/** Whether the nodes were read. */
export const areNodesKnown = signal(false);
/** Why they could not be read. */
export const nodesError = signal<string | undefined>(undefined);

let byId = new Map<NodeId, NodeSummary>();
let flushTimer: ReturnType<typeof setTimeout> | undefined;
let readTimer: ReturnType<typeof setTimeout> | undefined;
let reading: AbortController | undefined;
let lastReadAt = 0;
/** An event came while the answer was on its way. */
let isDoubtful = false;

export function findNode(id: NodeId): NodeSummary | undefined {
  void nodes.value;
  return byId.get(id);
}

/** The name of a node, for people; its id while the name is not known. */
export function nodeName(id: NodeId): string {
  return findNode(id)?.name ?? id;
}

export function toneOfNode(status: string, worst: string | null): Tone {
  const own = toneOf(status);
  // The pipelines of a node that does not report are unknown, which says nothing new.
  if (worst === null || own === "lost" || own === "off" || toneOf(worst) === "off") return own;
  return worse(own, toneOf(worst));
}

/** The rows of the compact answer. */
export function toSummaries({ ids, names, states, stateNames }: FleetMap): NodeSummary[] {
  return ids.map((id, index) => {
    const { status = "UNKNOWN", worstPipeline = null } = stateNames[states[index] ?? -1] ?? {};
    return {
      id,
      name: names[index] ?? id,
      status,
      worst: worstPipeline ?? null,
      tone: toneOfNode(status, worstPipeline ?? null),
    };
  });
}

/** Reads all nodes, and again when that is due; the function that is returned ends it. */
export function followNodes(): () => void {
  void read();
  const timer = setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - lastReadAt > MAX_AGE_MS) void read();
  }, 30_000);
  return () => {
    clearInterval(timer);
    clearTimeout(readTimer);
    clearTimeout(flushTimer);
    readTimer = undefined;
    flushTimer = undefined;
    reading?.abort();
    reading = undefined;
    lastReadAt = 0;
    byId = new Map();
    nodes.value = [];
    areNodesKnown.value = false;
  };
}

/** How often all nodes are read at most. */
export function readingPeriodMs(): number {
  return byId.size > LARGE ? Math.max(LARGE_READ_AGAIN_MS, byId.size * READ_AGAIN_MS_PER_NODE) : READ_AGAIN_MS;
}

/** Reads all nodes soon, not more often than {@link readingPeriodMs}. */
export function readNodesSoon(): void {
  if (reading !== undefined) isDoubtful = true;
  if (readTimer !== undefined || reading !== undefined) return;
  const wait = Math.max(READ_AGAIN_MS, lastReadAt + readingPeriodMs() - Date.now());
  readTimer = setTimeout(() => {
    readTimer = undefined;
    void read();
  }, wait);
}

export async function read(): Promise<void> {
  reading?.abort();
  const stop = new AbortController();
  reading = stop;
  isDoubtful = false;
  try {
    const map = await queries.fleetMap({ environment: environment.value }, { signal: stop.signal });
    byId = new Map(toSummaries(map).map((node) => [node.id, node]));
    areNodesKnown.value = true;
    nodesError.value = undefined;
    nodes.value = [...byId.values()];
  } catch (error) {
    if (stop.signal.aborted) return;
    nodesError.value = error instanceof Error ? error.message : String(error);
    isDoubtful = true;
  }
  lastReadAt = Date.now();
  reading = undefined;
  if (isDoubtful) readNodesSoon();
}

/** Applies a change of a node or of a pipeline on it. */
export function applyChange(change: EventOf<"status_change">): void {
  if (reading !== undefined) isDoubtful = true;
  const known = byId.get(change.nodeId);
  const { next, isDoubtful: isUnclear } = afterChange(known, change);
  if (isUnclear) readNodesSoon();
  if (next === known) return;
  if (next === undefined) byId.delete(change.nodeId);
  else byId.set(change.nodeId, next);
  flush();
}

/** What a change makes of a node, and whether only the collector knows the whole of it. */
export function afterChange(
  known: NodeSummary | undefined,
  { nodeName: name, pipelineId, fromStatus, toStatus }: EventOf<"status_change">,
): { next: NodeSummary | undefined; isDoubtful: boolean } {
  // A node that is new has a place in the order of names, which the answer has.
  if (known === undefined) return { next: undefined, isDoubtful: toStatus !== "REMOVED" };
  if (pipelineId === undefined) {
    if (toStatus === "REMOVED") return { next: undefined, isDoubtful: false };
    // Only the reason is new: a name, labels, maintenance.
    if (fromStatus === toStatus) return { next: { ...known, name: name ?? known.name }, isDoubtful: true };
    return { next: withState(known, toStatus as NodeStatus, known.worst), isDoubtful: false };
  }
  const isBetter = known.worst !== null && rankOf(toneOf(toStatus)) > rankOf(toneOf(known.worst));
  // Another pipeline may still be as bad as this one was.
  if (isBetter) return { next: known, isDoubtful: fromStatus === known.worst };
  return { next: withState(known, known.status, toStatus as PipelineStatus), isDoubtful: false };
}

function withState(known: NodeSummary, status: NodeStatus, worst: PipelineStatus | null): NodeSummary {
  return { ...known, status, worst, tone: toneOfNode(status, worst) };
}

function flush(): void {
  flushTimer ??= setTimeout(
    () => {
      flushTimer = undefined;
      nodes.value = [...byId.values()];
    },
    byId.size > LARGE ? LARGE_FLUSH_MS : FLUSH_MS,
  );
}
