/** The rows of the fleet: nodes with their pipelines, filtered, sorted and grouped as the address says. */

import { computed } from "@preact/signals";
import type { NodeState, PipelineState } from "@systole/client";
import { detailsOf, directoryVersion, nodeName } from "../../state/directory.ts";
import { fleet } from "../../state/fleet.ts";
import { labelTest } from "../../state/labels.ts";
import { rankOf, TONES, type Tone, toneOf, wordOf, worse } from "../../state/status.ts";

export interface NodeRow {
  id: string;
  name: string;
  /** Its place in the order of names. */
  place: number;
  status: string;
  /** The worst of the node and its pipelines. */
  tone: Tone;
  /** What is wrong, in a few words. */
  note: string;
  lastSeenAt: number | null;
  pipelines: readonly PipelineState[];
  running: number;
}

/** All nodes. */
export const nodeRows = computed<readonly NodeRow[]>(() => {
  const { nodes, pipelines } = fleet.value;
  const byNode = new Map<string, PipelineState[]>();
  for (const pipeline of pipelines.values()) {
    const known = byNode.get(pipeline.nodeId);
    if (known === undefined) byNode.set(pipeline.nodeId, [pipeline]);
    else known.push(pipeline);
  }
  const rows = [...nodes.values()].map((node) => toRow(node, byNode.get(node.nodeId) ?? []));
  const places = placesOf(rows);
  for (const row of rows) row.place = places.get(row.id) ?? 0;
  return rows;
});

const collator = new Intl.Collator(undefined, { numeric: true });
let ordered: readonly NodeRow[] = [];
let places: ReadonlyMap<string, number> = new Map();

/** Ten thousand names are sorted again only when one of them has changed, and not at each change of a state. */
function placesOf(rows: readonly NodeRow[]): ReadonlyMap<string, number> {
  const isSame =
    rows.length === ordered.length &&
    rows.every(({ id, name }, index) => ordered[index]?.id === id && ordered[index]?.name === name);
  if (!isSame) {
    const sorted = [...rows].sort(
      (one, other) => collator.compare(one.name, other.name) || (one.id < other.id ? -1 : 1),
    );
    places = new Map(sorted.map(({ id }, place) => [id, place]));
  }
  ordered = rows;
  return places;
}

function toRow(node: NodeState, pipelines: PipelineState[]): NodeRow {
  let tone = toneOf(node.status);
  let running = 0;
  const troubles = new Map<string, number>();
  // The pipelines of a node that does not report are unknown, which says nothing new.
  const isSilent = tone === "lost" || tone === "off";
  for (const { status } of pipelines) {
    const own = toneOf(status);
    if (own === "ok") running += 1;
    if (isSilent || own === "off" || own === "ok") continue;
    tone = worse(tone, own);
    troubles.set(status, (troubles.get(status) ?? 0) + 1);
  }
  const note = [...troubles]
    .sort(([one], [other]) => rankOf(toneOf(one)) - rankOf(toneOf(other)))
    .map(([status, count]) => `${count} ${wordOf(status).toLowerCase()}`)
    .join(", ");
  return {
    id: node.nodeId,
    name: nodeName(node.nodeId),
    place: 0,
    status: node.status,
    tone,
    note,
    lastSeenAt: node.lastSeenAt,
    pipelines,
    running,
  };
}

export interface Counts {
  total: number;
  byTone: ReadonlyMap<Tone, number>;
}

function countTones(tones: Iterable<Tone>): Counts {
  const byTone = new Map<Tone, number>();
  let total = 0;
  for (const tone of tones) {
    byTone.set(tone, (byTone.get(tone) ?? 0) + 1);
    total += 1;
  }
  return { total, byTone };
}

export const nodeCounts = computed(() => countTones(nodeRows.value.map(({ tone }) => tone)));
export const pipelineCounts = computed(() =>
  countTones([...fleet.value.pipelines.values()].map(({ status }) => toneOf(status))),
);

export interface Filter {
  text: string;
  tones: readonly Tone[];
  label: string;
}

export function readFilter(query: URLSearchParams): Filter {
  const known = (query.get("state") ?? "")
    .split(",")
    .filter((tone): tone is Tone => (TONES as readonly string[]).includes(tone));
  return { text: (query.get("q") ?? "").trim().toLowerCase(), tones: known, label: query.get("label") ?? "" };
}

export function filterRows(rows: readonly NodeRow[], { text, tones, label }: Filter): readonly NodeRow[] {
  void directoryVersion.value;
  const matches = labelTest(label);
  return rows.filter((row) => {
    if (tones.length > 0 && !tones.includes(row.tone)) return false;
    const labels = detailsOf(row.id)?.labels ?? {};
    if (!matches(labels)) return false;
    return text === "" || matchesText(row, labels, text);
  });
}

function matchesText(row: NodeRow, labels: Record<string, string>, text: string): boolean {
  return (
    row.name.toLowerCase().includes(text) ||
    row.id.startsWith(text) ||
    row.pipelines.some(
      ({ pipelineId, pipelineName }) =>
        pipelineName.toLowerCase().includes(text) || pipelineId.toLowerCase().includes(text),
    ) ||
    Object.entries(labels).some(([name, value]) => `${name}:${value}`.toLowerCase().includes(text))
  );
}

export type SortKey = "state" | "name" | "version" | "memory";

export function sortRows(rows: readonly NodeRow[], by: string, descending: boolean): NodeRow[] {
  const byName = (one: NodeRow, other: NodeRow) => one.place - other.place;
  const compare: Record<SortKey, (one: NodeRow, other: NodeRow) => number> = {
    state: (one, other) => rankOf(one.tone) - rankOf(other.tone),
    name: byName,
    version: (one, other) => collator.compare(versionOf(one), versionOf(other)),
    memory: (one, other) => memoryOf(one) - memoryOf(other),
  };
  const chosen = compare[by as SortKey] ?? compare.state;
  const sign = descending ? -1 : 1;
  return [...rows].sort((one, other) => sign * chosen(one, other) || byName(one, other));
}

const versionOf = (row: NodeRow) => detailsOf(row.id)?.agentVersion ?? "";

export function memoryOf(row: NodeRow): number {
  const { memoryUsedBytes, memoryTotalBytes } = detailsOf(row.id)?.host ?? {};
  return memoryUsedBytes && memoryTotalBytes ? memoryUsedBytes / memoryTotalBytes : -1;
}

export interface NodeGroup {
  value: string;
  tone: Tone;
  rows: NodeRow[];
}

/** By the value of a label, the worst group first. */
export function groupRows(rows: readonly NodeRow[], label: string): NodeGroup[] {
  const groups = new Map<string, NodeGroup>();
  for (const row of rows) {
    const value = detailsOf(row.id)?.labels?.[label] ?? "";
    const group = groups.get(value) ?? { value, tone: "ok", rows: [] };
    group.rows.push(row);
    group.tone = worse(group.tone, row.tone);
    groups.set(value, group);
  }
  return [...groups.values()].sort(
    (one, other) => rankOf(one.tone) - rankOf(other.tone) || one.value.localeCompare(other.value),
  );
}

/** Names of labels that nodes have, the most used first. */
export function labelNames(rows: readonly NodeRow[]): string[] {
  const counts = new Map<string, number>();
  for (const { id } of rows)
    for (const name of Object.keys(detailsOf(id)?.labels ?? {})) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]).map(([name]) => name);
}
