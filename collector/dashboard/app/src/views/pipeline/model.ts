/** A pipeline as one thing: its states on all of its nodes. */

import type { PipelineOnNode } from "@systole/client";
import { rankOf, type Tone, toneOf, wordOf } from "../../state/status.ts";

export interface PipelineOnNodes {
  id: string;
  name: string;
  on: readonly PipelineOnNode[];
}

/** Nodes that are followed all at once; of more, those in view are, and the collector sums the rates of all. */
const MAX_FOLLOWED = 20;

export function areFollowed({ on }: PipelineOnNodes): boolean {
  return on.length <= MAX_FOLLOWED;
}

/** The worst state, and on how many nodes, such as "2 of 9 crashed". */
export function summaryOf(counts: ReadonlyMap<string, number>): { tone: Tone; word: string } {
  const worst = [...counts].sort(([one], [other]) => rankOf(toneOf(one)) - rankOf(toneOf(other)))[0];
  if (worst === undefined) return { tone: "off", word: "On no node" };
  const [status, count] = worst;
  const total = [...counts.values()].reduce((sum, many) => sum + many, 0);
  return {
    tone: toneOf(status),
    word: count === total ? wordOf(status) : `${count} of ${total} ${wordOf(status).toLowerCase()}`,
  };
}

export function countStatuses(on: readonly PipelineOnNode[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { status } of on) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}
