/** Pipelines as one thing each: their states on all of their nodes. */

import { computed } from "@preact/signals";
import type { PipelineState } from "@systole/client";
import { fleet } from "./fleet.ts";
import { latestOf } from "./live.ts";
import { rankOf, type Tone, toneOf, wordOf, worse } from "./status.ts";

export interface PipelineRow {
  id: string;
  name: string;
  tone: Tone;
  /** The worst state, or how many nodes are in it. */
  note: string;
  on: readonly PipelineState[];
}

export const pipelineRows = computed<readonly PipelineRow[]>(() => {
  const byId = new Map<string, PipelineState[]>();
  for (const pipeline of fleet.value.pipelines.values()) {
    const known = byId.get(pipeline.pipelineId);
    if (known === undefined) byId.set(pipeline.pipelineId, [pipeline]);
    else known.push(pipeline);
  }
  return [...byId].map(([id, on]) => toRow(id, on));
});

function toRow(id: string, on: readonly PipelineState[]): PipelineRow {
  const counts = new Map<string, number>();
  let tone: Tone = "ok";
  for (const { status } of on) {
    counts.set(status, (counts.get(status) ?? 0) + 1);
    tone = worse(tone, toneOf(status));
  }
  const [worst] = [...counts].sort(([one], [other]) => rankOf(toneOf(one)) - rankOf(toneOf(other)));
  const [status = "UNKNOWN", count = 0] = worst ?? [];
  const note = count === on.length ? wordOf(status) : `${count} of ${on.length} ${wordOf(status).toLowerCase()}`;
  return { id, name: on[0]?.pipelineName ?? id, tone, note, on };
}

export interface LiveSum {
  in: number;
  out: number;
  errors: number;
  discarded: number;
  latencyMs: number | null;
}

/** The last rates of a pipeline, summed over nodes. Undefined before the first sample. */
export function liveSum(on: readonly { nodeId: string; pipelineId: string }[]): LiveSum | undefined {
  let sum: LiveSum | undefined;
  for (const { nodeId, pipelineId } of on) {
    const sample = latestOf(nodeId, pipelineId)?.sample;
    if (sample === undefined) continue;
    sum ??= { in: 0, out: 0, errors: 0, discarded: 0, latencyMs: null };
    sum.in += sample.receivedEventsRate;
    sum.out += sample.sentEventsRate;
    sum.errors += sample.errorsRate;
    sum.discarded += sample.discardedRate;
    // The slowest node, which a mean would hide.
    if (sample.latencyMeanMs !== null) sum.latencyMs = Math.max(sum.latencyMs ?? 0, sample.latencyMeanMs);
  }
  return sum;
}
