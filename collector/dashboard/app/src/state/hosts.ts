/** Processor and memory of the hosts in view, from their minutes. */

import { signal } from "@preact/signals";
import { queries } from "../api/http.ts";
import { enqueue } from "./background.ts";
import { addPast, whenForgotten } from "./live.ts";

/** Minutes of a sparkline. */
const MINUTES = 20;
/** A minute has one more item then. */
const FRESH_MS = 55_000;
/** A row with more pipelines begins its sparkline empty: each past is a query of its own. */
const PAST_PIPELINES = 4;
const PAST = "5m";

export interface HostLine {
  cpu: (number | null)[];
  memory: number | undefined;
  readAt: number;
}

const hosts = new Map<string, HostLine>();
const hasPast = new Set<string>();
export const hostsVersion = signal(0);

whenForgotten(() => hasPast.clear());

export function hostOf(nodeId: string): HostLine | undefined {
  return hosts.get(nodeId);
}

interface InView {
  id: string;
  pipelines: readonly { pipelineId: string }[];
}

/** Asks for what is not known yet, or is old, of nodes in view. */
export function readHosts(nodes: readonly InView[]): void {
  for (const node of [...nodes].reverse()) {
    if (node.pipelines.length <= PAST_PIPELINES) readPasts(node);
    const { id } = node;
    if (Date.now() - (hosts.get(id)?.readAt ?? 0) > FRESH_MS) enqueue(`host ${id}`, () => readHost(id));
  }
}

/** Asks for the last minutes of these pipelines, so that their sparklines do not begin empty. */
export function readPasts({ id, pipelines }: InView): void {
  for (const { pipelineId } of pipelines) {
    const key = `past ${id}/${pipelineId}`;
    if (hasPast.has(key)) continue;
    enqueue(key, async () => {
      hasPast.add(key);
      await readPast(id, pipelineId);
    });
  }
}

async function readHost(id: string): Promise<void> {
  const { items } = await queries.nodeMinutes(id, { from: `-${MINUTES}m`, step: "minute" });
  const last = items.at(-1);
  const first = items[0];
  const cpu: (number | null)[] = [];
  if (first !== undefined && last !== undefined) {
    const byMinute = new Map(items.map((item) => [item.at, item.cpuUtilization ?? null]));
    for (let at = first.at; at <= last.at; at += 60_000) cpu.push(byMinute.get(at) ?? null);
  }
  const { memoryUsedBytes, memoryTotalBytes } = last ?? {};
  const memory = memoryUsedBytes && memoryTotalBytes ? memoryUsedBytes / memoryTotalBytes : undefined;
  hosts.set(id, { cpu, memory, readAt: Date.now() });
  hostsVersion.value += 1;
}

async function readPast(id: string, pipelineId: string): Promise<void> {
  const { items } = await queries.samples({ node: id, pipeline: pipelineId, since: `-${PAST}` });
  const past = items.map((sample) => ({
    at: sample.timestamp,
    in: sample.receivedEventsRate,
    out: sample.sentEventsRate,
    errors: sample.errorsRate,
    discarded: sample.discardedRate,
  }));
  addPast(id, pipelineId, past);
}
