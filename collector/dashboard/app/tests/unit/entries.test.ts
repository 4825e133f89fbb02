import { expect, test, vi } from "vitest";
import { type Entry, EntryList, type ReadEntries } from "../../src/views/events/entries.ts";

const entry = (seq: number, kind: Entry["kind"] = "state"): Entry => ({
  seq,
  at: seq,
  kind,
  nodeId: "n",
  nodeName: undefined,
  pipelineId: undefined,
  pipelineName: undefined,
  from: undefined,
  to: "RUNNING",
  version: undefined,
  reason: "",
});

/** Pages of two, newest first. */
const source = (...seqs: number[]): ReadEntries => {
  return async (cursor) => {
    const from = Number(cursor ?? 0);
    const next = from + 2 < seqs.length ? String(from + 2) : null;
    return { items: seqs.slice(from, from + 2).map((seq) => entry(seq)), next };
  };
};

test("two lists are one timeline without holes, however far each was read", async () => {
  const list = new EntryList([source(20, 18, 6, 4), source(10, 2)], () => {});
  await vi.waitFor(() => expect(list.entries).toBeDefined());
  const seqs = () => list.entries?.map(({ seq }) => seq);
  // The first list may have entries between 18 and 10 that were not read yet.
  expect(seqs()).toEqual([20, 18]);
  await list.more();
  expect(seqs()).toEqual([20, 18, 10, 6, 4, 2]);
  await list.more();
  expect(seqs()).toEqual([20, 18, 10, 6, 4, 2]);
});

test("what comes live is at the top, once", async () => {
  const list = new EntryList([source(3, 1)], () => {});
  list.add(entry(5));
  await vi.waitFor(() => expect(list.entries).toBeDefined());
  list.add(entry(5));
  list.add(entry(3));
  list.add(entry(4, "deployment"));
  expect(list.entries?.map(({ seq }) => seq)).toEqual([5, 4, 3, 1]);
});
