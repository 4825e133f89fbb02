/** Rates of the whole fleet, which the collector sums for each environment. */

import { signal } from "@preact/signals";
import type { EventOf } from "@systole/client";

/** One a second. */
const KEPT = 60;
/** Events of several environments within this time are one value. */
const JOINED_MS = 500;

export interface Totals {
  at: number;
  eventsIn: number;
  eventsOut: number;
  errors: number;
  discarded: number;
}

export const totals = signal<readonly Totals[]>([]);

const ofEnvironments = new Map<string, EventOf<"fleet_totals">>();

/** Takes the totals of an environment. */
export function takeTotals(event: EventOf<"fleet_totals">): void {
  ofEnvironments.set(event.environmentId, event);
  const sum: Totals = { at: event.timestamp, eventsIn: 0, eventsOut: 0, errors: 0, discarded: 0 };
  for (const one of ofEnvironments.values()) {
    sum.eventsIn += one.eventsInRate;
    sum.eventsOut += one.eventsOutRate;
    sum.errors += one.errorsRate;
    sum.discarded += one.discardedRate;
  }
  const last = totals.value.at(-1);
  const before = last !== undefined && sum.at - last.at < JOINED_MS ? totals.value.slice(0, -1) : totals.value;
  totals.value = [...before, sum].slice(-KEPT);
}

/** Forgets what another token could see. */
export function forgetTotals(): void {
  ofEnvironments.clear();
  totals.value = [];
}
