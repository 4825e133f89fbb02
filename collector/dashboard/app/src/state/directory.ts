/**
 * What changes seldom of nodes: labels, versions, memory. It is read page after page once the states are shown, and again
 * for a node whose name or labels an administrator has changed.
 */

import { signal } from "@preact/signals";
import type { Node } from "@systole/client";
import { queries } from "../api/http.ts";
import { onChange, store } from "./fleet.ts";
import { environment } from "./session.ts";

/** Without its pipelines, which the main stream has. */
export type NodeDetails = Omit<Node, "pipelines" | "gaps">;

const PAGE = 250;
/** A pause between pages, so that a large fleet does not take the collector's queries from others. */
const PAUSE_MS = 200;

const details = new Map<string, NodeDetails>();
export const directoryVersion = signal(0);
export const isDirectoryComplete = signal(false);

export function detailsOf(nodeId: string): NodeDetails | undefined {
  return details.get(nodeId);
}

/**
 * The name of a node, for people. Events have the id only, so a node that has just enrolled or was renamed has its name from
 * here.
 */
export function nodeName(nodeId: string): string {
  void directoryVersion.value;
  return details.get(nodeId)?.name ?? store.nodeName(nodeId) ?? nodeId;
}

export function learn({ pipelines: _, gaps: __, ...node }: Node): void {
  details.set(node.id, node);
  directoryVersion.value += 1;
}

/** Nodes of which something is new. */
const stale = new Set<string>();
/** Changes of a moment are read together. */
const GATHER_MS = 500;
/** More nodes than these, such as a site that is back, are read as pages. */
const MAX_SINGLE = 20;
/** Time between two readings of all nodes, for each node: ten minutes with ten thousand. */
const ALL_EVERY_MS_PER_NODE = 60;
const MIN_ALL_EVERY_MS = 10_000;

/** Reads all nodes; the function that is returned ends it. */
export function readDirectory(): () => void {
  const stop = new AbortController();
  details.clear();
  stale.clear();
  isDirectoryComplete.value = false;
  let lastRead = Date.now();
  void readPages(stop.signal).catch(() => {});
  const unlisten = onChange(({ nodeId, pipelineId, fromStatus, toStatus }) => {
    // A change of a name, of labels or of maintenance, or a node's first report.
    if (pipelineId === undefined && toStatus !== "REMOVED" && (fromStatus === toStatus || !details.has(nodeId)))
      stale.add(nodeId);
  });
  const timer = setInterval(() => {
    // The reading that runs has them.
    if (!isDirectoryComplete.value || stale.size === 0) return;
    if (stale.size <= MAX_SINGLE) {
      void readSome([...stale], stop.signal);
    } else {
      if (Date.now() - lastRead < Math.max(MIN_ALL_EVERY_MS, details.size * ALL_EVERY_MS_PER_NODE)) return;
      lastRead = Date.now();
      void readPages(stop.signal).catch(() => {});
    }
    stale.clear();
  }, GATHER_MS);
  return () => {
    unlisten();
    clearInterval(timer);
    stop.abort();
  };
}

async function readPages(signal: AbortSignal): Promise<void> {
  let cursor: string | undefined;
  do {
    const page = await queries.nodes({ limit: PAGE, cursor, environment: environment.value }, { signal });
    for (const { pipelines: _, gaps: __, ...node } of page.items) details.set(node.id, node);
    directoryVersion.value += 1;
    cursor = page.next ?? undefined;
    if (cursor !== undefined) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  } while (cursor !== undefined && !signal.aborted);
  isDirectoryComplete.value = true;
}

async function readSome(ids: readonly string[], signal: AbortSignal): Promise<void> {
  for (const id of ids) {
    const node = await queries.node(id, {}, { signal }).catch(() => undefined);
    if (node !== undefined) learn(node);
  }
}
