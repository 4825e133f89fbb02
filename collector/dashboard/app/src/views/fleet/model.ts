/** A node of the list as a row shows it, and what a change of the stream makes of it. */

import type { EventOf, FleetMap, FleetNode, PipelineStatus } from "@systole/client";
import { type NodeSummary, toSummaries } from "../../state/nodes.ts";
import { rankOf, type Tone, toneOf, wordOf, worse } from "../../state/status.ts";

export interface NodeState {
  /** The worst of the node and its pipelines. */
  tone: Tone;
  /** What is wrong, or that nothing is. */
  word: string;
  running: number;
}

export function stateOf({ status, pipelines }: FleetNode): NodeState {
  let tone = toneOf(status);
  let running = 0;
  const troubles = new Map<string, number>();
  // The pipelines of a node that does not report are unknown, which says nothing new.
  const isSilent = tone === "lost" || tone === "off";
  for (const pipeline of pipelines) {
    const own = toneOf(pipeline.status);
    if (own === "ok") running += 1;
    if (isSilent || own === "off" || own === "ok") continue;
    tone = worse(tone, own);
    troubles.set(pipeline.status, (troubles.get(pipeline.status) ?? 0) + 1);
  }
  const word = [...troubles]
    .sort(([one], [other]) => rankOf(toneOf(one)) - rankOf(toneOf(other)))
    .map(([name, count]) => `${count} ${wordOf(name).toLowerCase()}`)
    .join(", ");
  return { tone, word: word === "" ? wordOf(status) : word, running };
}

export function pipelineName({ id, name }: FleetNode["pipelines"][number]): string {
  return name ?? id;
}

/** The share of its memory that a host uses. */
export function memoryShare({ sample: { memoryUsedBytes, memoryTotalBytes } }: FleetNode): number | undefined {
  return memoryUsedBytes != null && memoryTotalBytes ? memoryUsedBytes / memoryTotalBytes : undefined;
}

/** The node after a change of itself or of a pipeline on it. */
export function withChange(node: FleetNode, change: EventOf<"status_change">): FleetNode {
  if (change.nodeId !== node.id) return node;
  const { pipelineId, toStatus, reason } = change;
  if (pipelineId === undefined) {
    return {
      ...node,
      name: change.nodeName ?? node.name,
      status: toStatus as FleetNode["status"],
      statusReason: reason,
    };
  }
  const others = node.pipelines.filter(({ id }) => id !== pipelineId);
  if (toStatus === "REMOVED") return { ...node, pipelines: others };
  const known = node.pipelines.find(({ id }) => id === pipelineId);
  const changed = { ...known, id: pipelineId, status: toStatus as PipelineStatus };
  if (known === undefined && change.pipelineName !== undefined) changed.name = change.pipelineName;
  const pipelines = [...others, changed].sort((one, other) => (one.id < other.id ? -1 : 1));
  return { ...node, pipelines };
}

export interface NodeGroup {
  /** The value of the label; null for nodes without it. */
  value: string | null;
  tone: Tone;
  nodes: readonly NodeSummary[];
}

/** By the value of a label, the worst group first. */
export function groupsOf(map: FleetMap): NodeGroup[] {
  const byPlace = new Map<number, { tone: Tone; nodes: NodeSummary[] }>();
  toSummaries(map).forEach((node, index) => {
    const place = map.groups[index] ?? 0;
    const group = byPlace.get(place) ?? { tone: "ok", nodes: [] };
    group.nodes.push(node);
    group.tone = worse(group.tone, node.tone);
    byPlace.set(place, group);
  });
  return [...byPlace]
    .map(([place, group]) => ({ value: map.groupNames[place] ?? null, place, ...group }))
    .sort((one, other) => rankOf(one.tone) - rankOf(other.tone) || one.place - other.place);
}

/** Names of labels that nodes have, the most used first. */
export function labelNames(nodes: readonly FleetNode[]): string[] {
  const counts = new Map<string, number>();
  for (const { labels } of nodes) for (const name of Object.keys(labels)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]).map(([name]) => name);
}
