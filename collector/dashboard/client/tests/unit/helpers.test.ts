import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { LogBuffer } from "../../src/log_buffer.ts";
import { findLogLevel } from "../../src/log_level.ts";
import { componentRates } from "../../src/rates.ts";
import { FleetStore } from "../../src/store.ts";
import { ToastRules } from "../../src/toasts.ts";
import type { EventOf, LogLevel, RateSample } from "../../src/wire.ts";

describe("the level of a line", () => {
  const testdata = (name: string) =>
    readFileSync(new URL(`../../../../../agent/testdata/vector-0.58/${name}`, import.meta.url), "utf8").split("\n");

  test("of a real Vector is what the line says", () => {
    const lines = testdata("logs.txt").filter((line) => line !== "");
    expect(lines.length).toBeGreaterThan(10);
    for (const line of lines) expect(findLogLevel(line)).toBe(line.split(/\s+/)[1]);
  });

  test("is the first of two level keys of a JSON line, of the line itself and not of a part of it", () => {
    expect(findLogLevel(testdata("stdout-json.txt")[0] ?? "")).toBe("INFO");
    expect(findLogLevel(String.raw`{"level":"WARN","x":1,"level":"\"error\""}`)).toBe("WARN");
    expect(findLogLevel(String.raw`{"level":"\"error\""}`)).toBe("ERROR");
    expect(findLogLevel('{"a":{"level":"ERROR","b":[{},"]"]},"severity":"debug"}')).toBe("DEBUG");
    expect(findLogLevel('{"LEVEL" : 50 ,"msg":"x"}')).toBe("ERROR");
    expect(findLogLevel('{"lvl":"warn","msg":"cut of')).toBe("WARN");
    expect(findLogLevel('{"msg":"an ERROR"}')).toBeUndefined();
    expect(findLogLevel(String.raw`{"msg":"\",\"level\":\"ERROR\""}`)).toBeUndefined();
    expect(findLogLevel("{not json ERROR")).toBeUndefined();
  });

  test.each<[string, LogLevel]>([
    ["\x1b[2m2026-11-20T18:23:14Z\x1b[0m \x1b[33m WARN\x1b[0m vector: x", "WARN"],
    ["[2026-11-20 18:23:14] ERROR x", "ERROR"],
    ["2026/11/20 18:23:14 [error] 12#0: x", "ERROR"],
    ["2026-11-20 18:23:14 UTC debug x", "DEBUG"],
    ['time="2026-11-20" level=warning msg="x"', "WARN"],
    ["[main] WARN x", "WARN"],
    ["Error: no such file", "ERROR"],
    ["<info> x", "INFO"],
  ])("is at the beginning, after time or name: %s", (line, level) => {
    expect(findLogLevel(line)).toBe(level);
  });

  test.each([
    "cleared ERROR state",
    "error handling is on",
    "Notice that it rains",
    "",
    "   ",
    "a=b level=info",
    "12 monkeys and an ERROR",
  ])("is not in later words: %j", (line) => {
    expect(findLogLevel(line)).toBeUndefined();
  });
});

describe("the log buffer", () => {
  const entry = (line: string, at = 0, level: LogLevel | null = null) => ({
    at,
    stream: "stderr" as const,
    level,
    line,
  });
  const add = (buffer: LogBuffer, ...entries: ReturnType<typeof entry>[]) =>
    buffer.add({ nodeId: "n", pipelineId: "p", entries });

  test("keeps the last two hundred lines, in order", () => {
    const buffer = new LogBuffer();
    for (let i = 0; i < 250; i += 1) add(buffer, entry(`line ${i}`, i));
    expect(buffer.lines).toHaveLength(200);
    expect([buffer.lines[0]?.line, buffer.lines.at(-1)?.line]).toEqual(["line 50", "line 249"]);
  });

  test("folds equal lines of one level within 30 s of the last", () => {
    const buffer = new LogBuffer();
    add(buffer, entry("a", 1_000), entry("other", 2_000), entry("a", 31_000), entry("a", 61_000));
    add(buffer, entry("a", 91_001), entry("a", 91_001, "ERROR"));
    expect(buffer.lines.map(({ line, count, at, lastAt }) => [line, count, at, lastAt])).toEqual([
      ["a", 3, 1_000, 61_000],
      ["other", 1, 2_000, 2_000],
      ["a", 1, 91_001, 91_001],
      ["a", 1, 91_001, 91_001],
    ]);
  });

  test("keeps lines that differ after a long common beginning", () => {
    const buffer = new LogBuffer();
    const beginning = "2026-11-20T18:23:14Z ERROR [orders-worker-pool-1] com.example.orders.OrderService - order 18 ";
    const lines = [`${beginning}accepted`, `${beginning}sent`, `${beginning}failed: TIMEOUT`];
    add(buffer, ...lines.map((line) => entry(line)));
    expect(buffer.lines.map(({ line }) => line)).toEqual(lines);
  });

  test("folds lines of one pipeline on one node only", () => {
    const buffer = new LogBuffer();
    add(buffer, entry("a"));
    buffer.add({ nodeId: "m", pipelineId: "p", entries: [entry("a")] });
    buffer.add({ nodeId: "n", pipelineId: "q", entries: [entry("a")] });
    expect(buffer.lines.map(({ count }) => count)).toEqual([1, 1, 1]);
  });

  test("reads the level of a line that has none", () => {
    const buffer = new LogBuffer();
    add(buffer, entry("ERROR a"), entry("ERROR b", 0, "WARN"), entry("c"));
    expect(buffer.lines.map(({ level }) => level)).toEqual(["ERROR", "WARN", undefined]);
  });

  test("gives the same array until something changes, and never changes one that it gave", () => {
    const buffer = new LogBuffer();
    add(buffer, entry("a"));
    const before = buffer.lines;
    expect(buffer.lines).toBe(before);
    add(buffer, entry("a"));
    expect(before[0]?.count).toBe(1);
    expect(buffer.lines[0]?.count).toBe(2);
    buffer.clear();
    expect(buffer.lines).toEqual([]);
  });
});

describe("toasts", () => {
  const change = (
    fromStatus: string,
    toStatus: string,
    subject: { nodeId?: string; nodeName?: string; pipelineId?: string } = {},
  ) =>
    ({
      type: "status_change",
      nodeId: "n",
      fromStatus,
      toStatus,
      reason: "exit 1",
      timestamp: 0,
      ...subject,
    }) satisfies EventOf<"status_change">;
  const orders = { pipelineId: "orders", pipelineName: "Orders" };

  test.each([
    ["RUNNING", "CRASHED", orders, "error", "pipeline Orders (orders) on node web-1 (n) has crashed: exit 1"],
    ["CRASHED", "CRASH_LOOP", orders, "error", "pipeline Orders (orders) on node web-1 (n) crashes repeatedly: exit 1"],
    ["STARTING", "RUNNING", orders, "success", "pipeline Orders (orders) on node web-1 (n) is deployed and runs"],
    ["PENDING", "RUNNING", orders, "success", "pipeline Orders (orders) on node web-1 (n) is deployed and runs"],
    ["HEALTHY", "UNREACHABLE", {}, "warning", "node web-1 (n) cannot be reached: exit 1"],
    ["HEALTHY", "OFFLINE", {}, "info", "node web-1 (n) is offline: exit 1"],
  ])("%s to %s is shown, with names and ids", (from, to, subject, kind, text) => {
    const rules = new ToastRules({ nodeName: (id) => (id === "n" ? "web-1" : undefined) });
    expect(rules.toastFor(change(from, to, subject))).toMatchObject({ kind, text, nodeName: "web-1" });
  });

  test("have the name that the change itself brings", () => {
    const toast = new ToastRules().toastFor(change("RUNNING", "CRASHED", { nodeName: "web-3", ...orders }));
    expect(toast).toMatchObject({ nodeName: "web-3", text: expect.stringContaining("on node web-3 (n)") });
  });

  test("have ids alone where no name is known, and the store's names once it has them", () => {
    const store = new FleetStore();
    const rules = new ToastRules({ nodeName: store.nodeName });
    const crash = () => rules.toastFor(change("RUNNING", "CRASHED", { nodeId: "m", pipelineId: "q" }));
    expect(crash()?.text).toBe("pipeline q on node m has crashed: exit 1");
    const named = new ToastRules({ nodeName: store.nodeName });
    const node = { nodeId: "m", name: "web-2", status: "HEALTHY", lastSeenAt: null, maintenanceUntil: null } as const;
    store.apply({ type: "snapshot", nodes: [node], done: true }, "e-1");
    const toast = named.toastFor(change("RUNNING", "CRASHED", { nodeId: "m", pipelineId: "q" }));
    expect(toast?.text).toBe("pipeline q on node web-2 (m) has crashed: exit 1");
  });

  test.each([
    ["DEGRADED", "RUNNING", orders],
    ["CRASHED", "RUNNING", orders],
    ["UNKNOWN", "RUNNING", orders],
    ["RUNNING", "STOPPED", orders],
    ["UNREACHABLE", "HEALTHY", {}],
    ["OFFLINE", "HEALTHY", {}],
    ["RUNNING", "UNKNOWN", orders],
    ["CRASHED", "CRASHED", orders],
    ["HEALTHY", "DEGRADED", {}],
  ])("%s to %s is not shown", (from, to, subject) => {
    expect(new ToastRules().toastFor(change(from, to, subject))).toBeUndefined();
  });

  test("are shown once in 30 s for one subject, and again for another one or later", () => {
    const now = vi.fn(() => 0);
    const rules = new ToastRules({ now });
    const crash = (subject: object) =>
      rules.toastFor(change("RUNNING", "CRASHED", { ...orders, ...subject })) !== undefined;
    expect([crash({}), crash({}), crash({ nodeId: "m" }), crash({ pipelineId: "q" })]).toEqual([
      true,
      false,
      true,
      true,
    ]);
    now.mockReturnValue(29_999);
    expect(crash({})).toBe(false);
    now.mockReturnValue(30_000);
    expect(crash({})).toBe(true);
  });

  test("of a crash follow a success at once", () => {
    const rules = new ToastRules({ now: () => 0 });
    expect(rules.toastFor(change("STARTING", "RUNNING", orders))?.kind).toBe("success");
    expect(rules.toastFor(change("RUNNING", "CRASHED", orders))?.kind).toBe("error");
    expect(rules.toastFor(change("STARTING", "RUNNING", orders))).toBeUndefined();
  });
});

describe("rates", () => {
  const sample: RateSample = {
    timestamp: 0,
    receivedEventsRate: 10,
    sentEventsRate: 7,
    receivedBytesRate: 100,
    sentBytesRate: 70,
    errorCount: 0,
    errorsRate: 0,
    discardedRate: 0,
    latencyMeanMs: null,
  };
  const none = { inputEventsRate: undefined, inputBytesRate: undefined };

  test("of a source are what it received, or what it sent where that is not counted", () => {
    expect(componentRates("source", sample)).toEqual({ eventsRate: 10, bytesRate: 100, ...none });
    const uncounted = { ...sample, receivedEventsRate: 0, receivedBytesRate: 0 };
    expect(componentRates("source", uncounted)).toEqual({ eventsRate: 7, bytesRate: 70, ...none });
  });

  test("of a transform are what it sent, with what it received as input", () => {
    const rates = { eventsRate: 7, bytesRate: 70, inputEventsRate: 10, inputBytesRate: 100 };
    expect(componentRates("transform", sample)).toEqual(rates);
  });

  test("of a sink are what it received", () => {
    expect(componentRates("sink", sample)).toEqual({ eventsRate: 10, bytesRate: 100, ...none });
  });
});
