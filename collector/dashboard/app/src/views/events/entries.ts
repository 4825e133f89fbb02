/**
 * What happened, newest first, out of two lists of the collector: changes of states, and steps of versions on nodes. Both
 * have numbers of one sequence. What is shown ends where the list ends that was read less far, so that nothing is left out.
 */

import type { EventOf, NumberedStatusChange } from "@systole/client";
import { Reading } from "../../ui/reading.ts";

/** A line of the timeline. */
export interface Entry {
  seq: number;
  at: number;
  kind: "state" | "deployment";
  nodeId: string;
  nodeName: string | undefined;
  pipelineId: string | undefined;
  pipelineName: string | undefined;
  /** The state or the step before; undefined where it is not known. */
  from: string | undefined;
  to: string;
  version: number | undefined;
  reason: string;
}

export interface EntryPage {
  items: Entry[];
  next: string | null;
}

export type ReadEntries = (cursor: string | undefined, signal: AbortSignal) => Promise<EntryPage>;

/** What is in the page at most; a filter finds older ones. */
const KEPT = 5_000;

interface Source {
  read: ReadEntries;
  items: Entry[];
  /** Undefined before the first page; null after the last one. */
  next: string | null | undefined;
}

export function ofChange(change: Omit<NumberedStatusChange, "type">): Entry {
  const { seq, timestamp, nodeId, nodeName, pipelineId, pipelineName, fromStatus, toStatus, reason } = change;
  const from = fromStatus === toStatus ? undefined : fromStatus;
  const names = { nodeName, pipelineId, pipelineName };
  return { seq, at: timestamp, kind: "state", nodeId, ...names, from, to: toStatus, version: undefined, reason };
}

export function ofDeployment(step: Omit<EventOf<"deployment">, "type"> & { seq: number }): Entry {
  const { seq, timestamp, nodeId, pipelineId, version, phase, reason } = step;
  const names = { nodeName: undefined, pipelineId, pipelineName: undefined };
  return { seq, at: timestamp, kind: "deployment", nodeId, ...names, from: undefined, to: phase, version, reason };
}

export class EntryList {
  /** The same array until something changes; undefined before the first pages. */
  entries: readonly Entry[] | undefined;
  readonly #sources: Source[];
  readonly #onChange: () => void;
  readonly #reading = new Reading();
  #early: Entry[] = [];

  constructor(sources: readonly ReadEntries[], onChange: () => void) {
    this.#sources = sources.map((read) => ({ read, items: [], next: undefined }));
    this.#onChange = onChange;
    void this.#run(() => Promise.all(this.#sources.map((source) => this.#readPage(source))));
  }

  /** Why the last reading failed. */
  get error(): string | undefined {
    return this.#reading.error;
  }

  close(): void {
    this.#reading.close();
  }

  /** Takes an event that has just come. */
  add(entry: Entry): void {
    if (this.#early.some(({ seq }) => seq === entry.seq)) return;
    this.#early = [entry, ...this.#early].slice(0, KEPT);
    if (this.entries !== undefined) this.#publish();
  }

  /** Reads the newest page of each list again: events may have come that no stream has sent. */
  refresh(): Promise<void> {
    return this.#run(async () => {
      for (const source of this.#sources) {
        const { items } = await source.read(undefined, this.#reading.signal);
        for (const item of items) if (!source.items.some(({ seq }) => seq === item.seq)) this.#early.push(item);
      }
    });
  }

  /** Reads the next page of the list that was read less far. */
  more(): Promise<void> {
    const open = this.#sources.filter(({ next }) => typeof next === "string");
    const [source] = open.sort((one, other) => lastSeq(other) - lastSeq(one));
    if (source === undefined || (this.entries?.length ?? 0) >= KEPT) return Promise.resolve();
    return this.#run(() => this.#readPage(source));
  }

  #run(work: () => Promise<unknown>): Promise<void> {
    return this.#reading.run(work, () => this.#publish());
  }

  async #readPage(source: Source): Promise<void> {
    const { items, next } = await source.read(source.next ?? undefined, this.#reading.signal);
    source.items = [...source.items, ...items];
    source.next = next;
  }

  #publish(): void {
    if (this.#sources.every(({ next }) => next !== undefined)) this.#merge();
    this.#onChange();
  }

  #merge(): void {
    const end = Math.max(...this.#sources.map((source) => (source.next === null ? 0 : lastSeq(source))));
    const bySeq = new Map<number, Entry>();
    for (const entry of [...this.#early, ...this.#sources.flatMap(({ items }) => items)])
      if (entry.seq >= end) bySeq.set(entry.seq, entry);
    this.entries = [...bySeq.values()].sort((one, other) => other.seq - one.seq).slice(0, KEPT);
  }
}

function lastSeq({ items }: Source): number {
  return items.at(-1)?.seq ?? 0;
}
