/** The whole fleet counted and its rates summed, as the collector does for each environment. */

import { computed, signal } from "@preact/signals";
import type { FleetTotals } from "@systole/client";

/** One a second. */
const KEPT = 60;
/** Events of several environments within this time are one value. */
const JOINED_MS = 500;

export interface Rates {
  at: number;
  eventsIn: number;
  eventsOut: number;
  errors: number;
  discarded: number;
}

export interface Counts {
  total: number;
  byStatus: ReadonlyMap<string, number>;
}

/** The last minute. */
export const totals = signal<readonly Rates[]>([]);

const ofEnvironments = new Map<string, FleetTotals>();
const version = signal(0);

/** Undefined before the first totals. */
export const nodeCounts = computed(() => counted(({ nodes }) => nodes));
export const pipelineCounts = computed(() => counted(({ pipelines }) => pipelines));

function counted(pick: (totals: FleetTotals) => Partial<Record<string, number>>): Counts | undefined {
  void version.value;
  if (ofEnvironments.size === 0) return undefined;
  const byStatus = new Map<string, number>();
  let total = 0;
  for (const one of ofEnvironments.values()) {
    for (const [status, count = 0] of Object.entries(pick(one))) {
      byStatus.set(status, (byStatus.get(status) ?? 0) + count);
      total += count;
    }
  }
  return { total, byStatus };
}

/** Takes the totals of an environment. */
export function takeTotals(event: FleetTotals): void {
  ofEnvironments.set(event.environmentId, event);
  const sum: Rates = { at: event.timestamp, eventsIn: 0, eventsOut: 0, errors: 0, discarded: 0 };
  for (const one of ofEnvironments.values()) {
    sum.eventsIn += one.eventsInRate;
    sum.eventsOut += one.eventsOutRate;
    sum.errors += one.errorsRate;
    sum.discarded += one.discardedRate;
  }
  const last = totals.value.at(-1);
  const before = last !== undefined && sum.at - last.at < JOINED_MS ? totals.value.slice(0, -1) : totals.value;
  totals.value = [...before, sum].slice(-KEPT);
  version.value += 1;
}

/** Forgets what another token could see. */
export function forgetTotals(): void {
  ofEnvironments.clear();
  totals.value = [];
  version.value += 1;
}
