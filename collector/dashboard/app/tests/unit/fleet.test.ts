/** What changes of the stream make of nodes, and when they are left out. */

import type { FleetNode } from "@systole/client";
import { describe, expect, test, vi } from "vitest";
import { afterChange, type NodeSummary, toneOfNode, toSummaries } from "../../src/state/nodes.ts";
import { StormGauge } from "../../src/state/storm.ts";
import { PagedList } from "../../src/ui/paged_list.ts";
import { groupsOf, stateOf, withChange } from "../../src/views/fleet/model.ts";
import { readFilter, readOrder } from "../../src/views/fleet/query.ts";

const known: NodeSummary = { id: "n", name: "edge", status: "HEALTHY", worst: "RUNNING", tone: "ok" };
const change = (fromStatus: string, toStatus: string, more: object = {}) => ({
  type: "status_change" as const,
  nodeId: "n",
  fromStatus,
  toStatus,
  reason: "",
  timestamp: 0,
  ...more,
});

describe("a summary of a node", () => {
  test("is as bad as its worst pipeline, unless it is silent", () => {
    expect(toneOfNode("DEGRADED", "CRASHED")).toBe("bad");
    expect(toneOfNode("UNREACHABLE", "UNKNOWN")).toBe("lost");
    expect(toneOfNode("HEALTHY", "STOPPED")).toBe("ok");
    expect(toneOfNode("HEALTHY", null)).toBe("ok");
  });

  test("comes from the columns of the map", () => {
    const map = {
      total: 2,
      ids: ["a", "b"],
      names: ["one", "two"],
      states: [1, 0],
      stateNames: [
        { status: "HEALTHY" as const, worstPipeline: null },
        { status: "DEGRADED" as const, worstPipeline: "CRASHED" as const },
      ],
      groups: [1, 0],
      groupNames: ["lab", null],
    };
    expect(toSummaries(map).map(({ name, tone }) => [name, tone])).toEqual([
      ["one", "bad"],
      ["two", "ok"],
    ]);
    expect(groupsOf(map).map(({ value, tone }) => [value, tone])).toEqual([
      [null, "bad"],
      ["lab", "ok"],
    ]);
  });

  test("gets worse with a pipeline at once, and better only when no other can be as bad", () => {
    const crashed = afterChange(known, change("RUNNING", "CRASHED", { pipelineId: "p" }));
    expect(crashed).toMatchObject({ next: { worst: "CRASHED", tone: "bad" }, isDoubtful: false });
    const recovered = afterChange(crashed.next, change("CRASHED", "RUNNING", { pipelineId: "p" }));
    expect(recovered).toEqual({ next: crashed.next, isDoubtful: true });
    // Another pipeline was not the worst one.
    const other = afterChange(crashed.next, change("DEGRADED", "RUNNING", { pipelineId: "q" }));
    expect(other).toEqual({ next: crashed.next, isDoubtful: false });
  });

  test("is renamed, removed, and read when it is new", () => {
    const renamed = change("HEALTHY", "HEALTHY", { nodeName: "core" });
    expect(afterChange(known, renamed)).toMatchObject({ next: { name: "core" }, isDoubtful: true });
    expect(afterChange(known, change("HEALTHY", "REMOVED"))).toEqual({ next: undefined, isDoubtful: false });
    expect(afterChange(undefined, change("UNKNOWN", "HEALTHY")).isDoubtful).toBe(true);
  });
});

const row: FleetNode = {
  id: "n",
  name: "edge",
  status: "HEALTHY",
  statusReason: "",
  labels: {},
  sample: {},
  pipelines: [
    { id: "a", status: "RUNNING" },
    { id: "b", status: "RUNNING" },
  ],
};

test("a row has the state of each change before its page is read again", () => {
  const crashed = withChange(row, change("RUNNING", "CRASHED", { pipelineId: "b" }));
  expect(stateOf(crashed)).toEqual({ tone: "bad", word: "1 crashed", running: 1 });
  const lost = withChange(crashed, change("DEGRADED", "UNREACHABLE", { reason: "no report" }));
  expect(stateOf(lost)).toMatchObject({ tone: "lost", word: "Unreachable" });
  expect(withChange(row, change("RUNNING", "CRASHED", { nodeId: "other" }))).toBe(row);
});

test("many changes in a moment are a storm, which lasts longer each time it comes back", () => {
  const gauge = new StormGauge();
  const rush = (from: number) => Array.from({ length: 260 }, (_, index) => gauge.count(from + index)).some(Boolean);
  expect(Array.from({ length: 400 }, (_, index) => gauge.count(index * 100)).some(Boolean)).toBe(false);
  expect(rush(100_000)).toBe(true);
  expect([gauge.isOver(129_000), gauge.isOver(131_000)]).toEqual([false, true]);
  expect(rush(132_000)).toBe(true);
  expect([gauge.isOver(180_000), gauge.isOver(193_000)]).toEqual([false, true]);
});

test("filters and order of the address are those of the collector", () => {
  const parsed = readFilter(new URLSearchParams("q= edge &label=site=lab !canary&state=DEGRADED,wrong&run="));
  expect(parsed).toEqual({
    q: "edge",
    label: ["site:lab", "!canary"],
    status: ["DEGRADED"],
    pipelineStatus: undefined,
  });
  expect(readOrder(new URLSearchParams("sort=in&desc=1")).order).toEqual({ sort: "eventsIn", order: "desc" });
  expect(readOrder(new URLSearchParams()).order).toEqual({ sort: "state", order: "asc" });
});

describe("a list of pages", () => {
  const page = (items: string[], next: string | null, total = 4) => ({ items, next, total });

  test("reads one page after the other, and those in view again from their own cursors", async () => {
    const answers = [page(["a", "b"], "1"), page(["c", "d"], null), page(["a", "x"], "2"), page(["c", "d"], null)];
    const asked: (string | undefined)[] = [];
    const list = new PagedList<string>(
      (item) => item,
      async (cursor) => {
        asked.push(cursor);
        return answers.shift() ?? page([], null);
      },
      () => {},
    );
    await vi.waitFor(() => expect(list.rows).toEqual(["a", "b"]));
    expect([list.total, list.hasMore]).toEqual([4, true]);
    await list.more();
    expect([list.rows, list.hasMore]).toEqual([["a", "b", "c", "d"], false]);
    await list.refresh(new Set(["d"]));
    expect(list.rows).toEqual(["a", "x", "c", "d"]);
    // The second page follows the first one as it is now.
    expect(asked).toEqual([undefined, "1", undefined, "2"]);
  });

  test("keeps its rows when a reading fails, and says why", async () => {
    let isBroken = false;
    const list = new PagedList<string>(
      (item) => item,
      async () => {
        if (isBroken) throw new Error("the collector is busy");
        return page(["a"], null, 1);
      },
      () => {},
    );
    await vi.waitFor(() => expect(list.isKnown).toBe(true));
    isBroken = true;
    await list.refresh(new Set());
    expect([list.rows, list.error]).toEqual([["a"], "the collector is busy"]);
  });
});
