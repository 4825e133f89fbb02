/** The small lines of nodes in view: what flowed through them in the last minutes, and how busy their processors were. */

import { signal } from "@preact/signals";
import type { FleetNode } from "@systole/client";
import { queries } from "../api/http.ts";
import { enqueue } from "./background.ts";
import { addPast, KEPT_POINTS, type Point, whenForgotten } from "./live.ts";

/** Minutes of a processor's line. */
const MINUTES = 20;
/** A minute has one more item then. */
const FRESH_MS = 55_000;
/** A row with more pipelines begins its line empty: each past is a query of its own. */
const PAST_PIPELINES = 3;
const PAST = "3m";
/** Nodes that are remembered, so that a person who scrolls through a large fleet does not fill the memory. */
const MAX_REMEMBERED = 2_000;

type Flow = Pick<Point, "at" | "in" | "out">;

const cpus = new Map<string, { values: (number | null)[]; readAt: number }>();
const flows = new Map<string, Flow[]>();
const hasPast = new Set<string>();
/** Counts changes of what is above. */
export const sparksVersion = signal(0);

whenForgotten(() => hasPast.clear());

export function cpuLine(nodeId: string): readonly (number | null)[] {
  return cpus.get(nodeId)?.values ?? [];
}

export function flowLine(nodeId: string): readonly Flow[] {
  return flows.get(nodeId) ?? [];
}

/** Adds the last sample of a node to its line. */
export function recordSample({ id, lastSeenAt, sample }: FleetNode): void {
  const { eventsInRate, eventsOutRate } = sample;
  if (lastSeenAt == null || eventsInRate == null || eventsOutRate == null) return;
  const known = flows.get(id) ?? [];
  if ((known.at(-1)?.at ?? 0) >= lastSeenAt) return;
  if (flows.size > MAX_REMEMBERED) forget();
  flows.set(id, [...known.slice(-KEPT_POINTS + 1), { at: lastSeenAt, in: eventsInRate, out: eventsOutRate }]);
}

function forget(): void {
  flows.clear();
  cpus.clear();
  hasPast.clear();
}

/** Asks for the lines of nodes in view that are not known yet, or are old. */
export function readSparks(nodes: readonly FleetNode[]): void {
  for (const { id, pipelines } of [...nodes].reverse()) {
    if (pipelines.length <= PAST_PIPELINES && !hasPast.has(id)) {
      enqueue(`flow ${id}`, async () => {
        hasPast.add(id);
        await readFlow(
          id,
          pipelines.map((pipeline) => pipeline.id),
        );
      });
    }
    if (Date.now() - (cpus.get(id)?.readAt ?? 0) > FRESH_MS) enqueue(`cpu ${id}`, () => readCpu(id));
  }
}

/** Asks for the last minutes of pipelines on a node, so that their lines do not begin empty. */
export function readPasts(nodeId: string, pipelineIds: readonly string[]): void {
  for (const pipelineId of [...pipelineIds].reverse()) {
    const key = `past ${nodeId}/${pipelineId}`;
    if (hasPast.has(key)) continue;
    enqueue(key, async () => {
      hasPast.add(key);
      addPast(nodeId, pipelineId, await readPoints(nodeId, pipelineId));
    });
  }
}

async function readCpu(id: string): Promise<void> {
  const { items } = await queries.nodeMinutes(id, { from: `-${MINUTES}m`, step: "minute" });
  const first = items[0];
  const last = items.at(-1);
  const values: (number | null)[] = [];
  if (first !== undefined && last !== undefined) {
    const byMinute = new Map(items.map((item) => [item.at, item.cpuUtilization ?? null]));
    for (let at = first.at; at <= last.at; at += 60_000) values.push(byMinute.get(at) ?? null);
  }
  cpus.set(id, { values, readAt: Date.now() });
  sparksVersion.value += 1;
}

/** The sum over a node's pipelines: samples of one report have one time. */
async function readFlow(id: string, pipelineIds: readonly string[]): Promise<void> {
  const byTime = new Map<number, Flow>();
  for (const pipelineId of pipelineIds) {
    for (const { at, in: received, out } of await readPoints(id, pipelineId)) {
      const sum = byTime.get(at) ?? { at, in: 0, out: 0 };
      sum.in += received;
      sum.out += out;
      byTime.set(at, sum);
    }
  }
  const known = flows.get(id) ?? [];
  const first = known[0]?.at ?? Number.POSITIVE_INFINITY;
  const past = [...byTime.values()].filter(({ at }) => at < first).sort((one, other) => one.at - other.at);
  flows.set(id, [...past, ...known].slice(-KEPT_POINTS));
  sparksVersion.value += 1;
}

async function readPoints(nodeId: string, pipelineId: string): Promise<Point[]> {
  const { items } = await queries.samples({ node: nodeId, pipeline: pipelineId, since: `-${PAST}` });
  return items.map((sample) => ({
    at: sample.timestamp,
    in: sample.receivedEventsRate,
    out: sample.sentEventsRate,
    errors: sample.errorsRate,
    discarded: sample.discardedRate,
  }));
}
