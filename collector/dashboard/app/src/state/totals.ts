/**
 * Rates of the whole fleet. They are summed from the last samples in a snapshot, which is taken the less often the more
 * pipelines there are. Fleets with more than {@link MAX_PIPELINES} need the collector's own sums.
 */

import { signal } from "@preact/signals";
import { connect } from "@systole/client";
import { CLIENT, sessionFetch } from "../api/http.ts";
import { collectorNow } from "./clock.ts";
import { fleet } from "./fleet.ts";
import { environment } from "./session.ts";

export const MAX_PIPELINES = 2_000;
const MIN_PERIOD_MS = 5_000;
/** 2,000 pipelines of 250 bytes every 20 s are 25 KB/s. */
const PERIOD_PER_PIPELINE_MS = 10;
/** A sample that is older does not say anything about now. */
const MAX_AGE_MS = 60_000;
const KEPT = 60;

export interface Totals {
  at: number;
  eventsIn: number;
  eventsOut: number;
  errors: number;
  discarded: number;
}

export const totals = signal<readonly Totals[]>([]);

/** Reads totals until the returned function is called. */
export function followTotals(): () => void {
  let isStopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let close: (() => void) | undefined;
  const next = () => {
    const count = fleet.peek().pipelines.size;
    const period = Math.max(MIN_PERIOD_MS, count * PERIOD_PER_PIPELINE_MS);
    timer = setTimeout(run, fleet.peek().isComplete ? period : 200);
  };
  const run = () => {
    const { isComplete, pipelines } = fleet.peek();
    if (isStopped) return;
    if (!isComplete || pipelines.size > MAX_PIPELINES || document.visibilityState === "hidden") return next();
    close = readOnce((sum) => {
      totals.value = [...totals.value, sum].slice(-KEPT);
    }, next);
  };
  run();
  return () => {
    isStopped = true;
    clearTimeout(timer);
    close?.();
    totals.value = [];
  };
}

function readOnce(take: (sum: Totals) => void, then: () => void): () => void {
  const feed = connect({
    url: "./",
    client: CLIENT,
    fetch: sessionFetch,
    types: ["metric_update"],
    environment: environment.value,
    every: 60_000,
    share: false,
    onEvent(event) {
      if (event.type !== "snapshot") return;
      const now = collectorNow();
      const sum: Totals = { at: now, eventsIn: 0, eventsOut: 0, errors: 0, discarded: 0 };
      for (const { timestamp, sample } of event.samples ?? []) {
        if (now - timestamp > MAX_AGE_MS) continue;
        sum.eventsIn += sample.receivedEventsRate;
        sum.eventsOut += sample.sentEventsRate;
        sum.errors += sample.errorsRate;
        sum.discarded += sample.discardedRate;
      }
      void feed.close();
      take(sum);
      then();
    },
    onState(state) {
      if (state !== "stale" && state !== "failed") return;
      void feed.close();
      then();
    },
  });
  return () => void feed.close();
}
