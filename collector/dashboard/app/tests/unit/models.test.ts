import type { PipelineMinute } from "@systole/client";
import { expect, test } from "vitest";
import { condense, toGrid } from "../../src/charts/grid.ts";
import { type Edge, edgeRate, type Flow, pathThrough } from "../../src/graph/model.ts";
import { labelTest, parseLabels } from "../../src/state/labels.ts";
import { expectedOf, isSilent, sumRows, toCsv, toLedger } from "../../src/views/ledger/model.ts";

const MINUTE = 60_000;
const HOUR = 3_600_000;

test("a minute without an item is a gap, and the one that runs is left out", () => {
  const items = [{ at: 0 }, { at: 3 * MINUTE }, { at: 4 * MINUTE }];
  expect(toGrid(items, "minute", 10_000, 5 * MINUTE, 4.5 * MINUTE)).toEqual({
    times: [0, 60, 120, 180],
    items: [items[0], undefined, undefined, items[1]],
    seconds: [60, 60, 60, 60],
  });
});

test("the rate of an hour that runs is that of its past part", () => {
  const items = [{ at: 0 }, { at: HOUR }];
  expect(toGrid(items, "hour", 0, 2 * HOUR, HOUR + 20 * MINUTE)).toMatchObject({ seconds: [3_600, 1_200] });
});

test("a peak survives where points are condensed", () => {
  expect(condense([1, 9, null, 2, null, null], 2)).toEqual({
    mean: [5, 2, null],
    low: [1, 2, null],
    high: [9, 2, null],
  });
});

test("the extremes of hours are those of their minutes, also where hours are condensed", () => {
  const [means, lows, highs] = [
    [5, 6, null],
    [1, 2, null],
    [9, 30, null],
  ];
  expect(condense(means, 1, lows, highs)).toEqual({ mean: means, low: lows, high: highs });
  expect(condense(means, 2, lows, highs)).toEqual({ mean: [5.5, null], low: [1, null], high: [30, null] });
});

const edge = (from: string, to: string, output?: string): Edge => ({
  key: `${from}${output ?? ""}${to}`,
  from,
  to,
  output,
});
const flow = (received: number, sent: number): Flow => ({
  in: received,
  out: sent,
  errors: 0,
  discarded: 0,
  latencyMs: null,
});

test("an edge has the rate of its output, or of the only input of its receiver", () => {
  const edges = [edge("a", "b"), edge("b", "c", "ok"), edge("b", "d", "errors"), edge("x", "d")];
  const frame = new Map([
    ["a", flow(10, 10)],
    ["b", flow(10, 9)],
    ["c", flow(7, 7)],
    ["d", flow(5, 5)],
  ]);
  expect(edges.map((one) => edgeRate(one, edges, frame))).toEqual([10, 7, null, null]);
});

test("a path is all before and all after a component, also in a cycle", () => {
  const edges = [edge("a", "b"), edge("b", "c"), edge("c", "b"), edge("b", "d"), edge("x", "d")];
  const { components, edges: found } = pathThrough("b", edges);
  expect([...components].sort()).toEqual(["a", "b", "c", "d"]);
  expect(found.has("xd")).toBe(false);
});

test("labels are conditions as in the API", () => {
  const labels = { site: "lab", canary: "" };
  const holds = (text: string) => labelTest(text)(labels);
  expect(["", "site:lab", "site=lab canary", "!role", "site"].map(holds)).toEqual([true, true, true, true, true]);
  expect(["site:office", "!canary", "role", "site:lab !site:lab"].map(holds)).toEqual([false, false, false, false]);
  expect(parseLabels("site=lab old-  canary x=a=b")).toEqual({ site: "lab", old: null, canary: "", x: "a=b" });
});

function minute(at: number, change: Partial<PipelineMinute> = {}): PipelineMinute {
  const counts = {
    bytesIn: 0,
    bytesOut: 0,
    discarded: 0,
    errors: 0,
    eventsIn: 100,
    eventsOut: 100,
    gaps: 0,
    lateReports: 0,
    logsDropped: 0,
    missingReports: 0,
    reports: 12,
    resets: 0,
  };
  return { at, ...counts, samples: 12, ...change };
}

test("the ledger sums minutes to hours, and counts the minutes without a report", () => {
  const items = [...Array(50).keys()].map((index) => minute(index * MINUTE));
  items.push(
    minute(HOUR, { discarded: 1, gaps: 2, missingReports: 3, lateReports: 4 }),
    minute(HOUR + MINUTE, { samples: 0, eventsIn: 0, eventsOut: 0, gaps: 12 }),
  );
  const rows = toLedger(items, "minute", 0, HOUR + 2.5 * MINUTE, HOUR);
  expect(rows).toMatchObject([
    { at: 0, in: 5_000, missingMinutes: 10, kept: 1 },
    { at: HOUR, in: 100, gaps: 14, missing: 3, late: 4, missingMinutes: 1, kept: 0.99 },
  ]);
  expect(rows.map(expectedOf)).toEqual([600, 27]);
  expect(rows.map(isSilent)).toEqual([false, false]);
  expect(toLedger([], "minute", 0, HOUR, HOUR).map(isSilent)).toEqual([true]);
  expect(sumRows(rows)).toMatchObject({ in: 5_100, discarded: 1, missingMinutes: 11 });
  expect(toCsv('a,"b"', rows).split("\r\n")[1]).toBe(
    '"a,""b""",1970-01-01T00:00:00.000Z,1970-01-01T01:00:00.000Z,5000,5000,0,0,0,600,0,0,10,0,1',
  );
});
