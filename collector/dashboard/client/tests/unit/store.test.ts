import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { FleetStore, pipelineKey } from "../../src/store.ts";
import type { AnyEvent, MetricUpdate, Snapshot } from "../../src/wire.ts";
import { fleetStatus, line, statusChange } from "./fake_network.ts";

const KEY = pipelineKey("n", "p");

function sample(timestamp = 1): MetricUpdate {
  const rates = { receivedEventsRate: 1, sentEventsRate: 2, receivedBytesRate: 3, sentBytesRate: 4, errorCount: 0 };
  const rest = { errorsRate: 0, discardedRate: 0, latencyMeanMs: null };
  return { nodeId: "n", pipelineId: "p", timestamp, sample: { timestamp, ...rates, ...rest }, components: [] };
}

const SNAPSHOT: Snapshot = {
  type: "snapshot",
  nodes: [{ nodeId: "n", name: "host", status: "HEALTHY", lastSeenAt: 5, maintenanceUntil: null }],
  pipelines: [
    { nodeId: "n", pipelineId: "p", pipelineName: "Orders", status: "RUNNING", reason: "", since: 3 },
    { nodeId: "n", pipelineId: "q", pipelineName: "Other", status: "STOPPED", reason: "asked", since: 4 },
  ],
  samples: [sample()],
  done: true,
};

function storeWithSnapshot() {
  const store = new FleetStore();
  store.apply(SNAPSHOT, "e-10");
  return store;
}

describe("the store", () => {
  test("holds what the snapshot says", () => {
    const store = new FleetStore();
    expect(store.state).toEqual({ nodes: new Map(), pipelines: new Map(), isComplete: false });
    store.apply(SNAPSHOT, "e-10");
    const { nodes, pipelines, isComplete } = store.state;
    expect(isComplete).toBe(true);
    expect(nodes.get("n")).toEqual({ ...SNAPSHOT.nodes?.[0], pipelinesRunning: undefined });
    expect(pipelines.get(KEY)).toEqual({ ...SNAPSHOT.pipelines?.[0], sample: sample() });
    expect(store.pipelinesOf("n").map(({ pipelineId }) => pipelineId)).toEqual(["p", "q"]);
    expect(store.pipelinesOf("m")).toEqual([]);
  });

  test("takes every kind of event about the state", () => {
    const store = storeWithSnapshot();
    store.apply({ ...fleetStatus(3), timestamp: 99, status: "DEGRADED" } as AnyEvent, "e-11");
    expect(store.state.nodes.get("n")).toMatchObject({
      name: "host",
      status: "DEGRADED",
      lastSeenAt: 99,
      pipelinesRunning: 3,
    });
    store.apply({ type: "metric_update", ...sample(7) }, "e-12");
    expect(store.state.pipelines.get(KEY)).toMatchObject({ pipelineName: "Orders", sample: sample(7) });
    store.apply({ ...statusChange("CRASHED", "RUNNING"), reason: "exit 1", timestamp: 8 } as AnyEvent, "e-13");
    expect(store.state.pipelines.get(KEY)).toMatchObject({
      status: "CRASHED",
      reason: "exit 1",
      since: 8,
      sample: sample(7),
    });
    store.apply(
      { type: "status_change", nodeId: "n", fromStatus: "DEGRADED", toStatus: "UNREACHABLE", reason: "", timestamp: 9 },
      "e-14",
    );
    expect(store.state.nodes.get("n")).toMatchObject({ status: "UNREACHABLE", lastSeenAt: 99, maintenanceUntil: null });
    store.apply({ ...fleetStatus(3), timestamp: 120, status: "UNREACHABLE" } as AnyEvent);
    expect(store.state.nodes.get("n")?.lastSeenAt).toBe(99);
    // The last report itself says that the agent stops.
    store.apply({ ...fleetStatus(0), timestamp: 130, status: "OFFLINE" } as AnyEvent);
    expect(store.state.nodes.get("n")).toMatchObject({ status: "OFFLINE", lastSeenAt: 130, maintenanceUntil: null });
  });

  test("forgets removed pipelines and nodes", () => {
    const store = storeWithSnapshot();
    store.apply(statusChange("REMOVED", "RUNNING"), "e-11");
    expect(store.pipelinesOf("n").map(({ pipelineId }) => pipelineId)).toEqual(["q"]);
    const removed = { fromStatus: "HEALTHY", toStatus: "REMOVED", reason: "", timestamp: 9 };
    store.apply({ type: "status_change", nodeId: "n", ...removed }, "e-12");
    expect(store.state.nodes.has("n")).toBe(false);
    expect(store.pipelinesOf("n")).toEqual([]);
  });

  test("knows nodes and pipelines from their first event, too", () => {
    const store = new FleetStore();
    store.apply(fleetStatus(), "e-1");
    store.apply({ ...statusChange("STARTING"), pipelineName: "Orders" } as AnyEvent, "e-2");
    expect(store.state.nodes.get("n")).toMatchObject({ name: "n", status: "HEALTHY" });
    expect(store.state.pipelines.get(KEY)).toMatchObject({
      pipelineName: "Orders",
      status: "STARTING",
      sample: undefined,
    });
    expect(store.state.isComplete).toBe(false);
  });

  test("replaces everything with a snapshot at once", () => {
    const store = storeWithSnapshot();
    const seen: number[] = [];
    store.subscribe(() => seen.push(store.state.nodes.size));
    store.apply({ type: "snapshot", nodes: [], done: true }, "e-20");
    expect(store.state).toEqual({ nodes: new Map(), pipelines: new Map(), isComplete: true });
  });

  test("is not set back by events that the snapshot has already", () => {
    const store = storeWithSnapshot();
    const before = store.state;
    store.apply(statusChange("CRASHED"), "e-10");
    store.apply(statusChange("CRASHED"), "e-9");
    expect(store.state).toBe(before);
    store.apply(statusChange("CRASHED"), "f-9");
    expect(store.state.pipelines.get(KEY)?.status).toBe("CRASHED");
  });

  test("gives objects that stay as they are, and the same ones where nothing changed", () => {
    const store = storeWithSnapshot();
    const before = store.state;
    store.apply(line("x"), "e-11");
    store.apply({ type: "ping", now: 1 });
    expect(store.state).toBe(before);
    store.apply(statusChange("CRASHED"), "e-12");
    const after = store.state;
    expect(before.pipelines.get(KEY)?.status).toBe("RUNNING");
    expect(after.pipelines.get(KEY)?.status).toBe("CRASHED");
    expect(after.nodes).toBe(before.nodes);
    expect(after.pipelines.get(pipelineKey("n", "q"))).toBe(before.pipelines.get(pipelineKey("n", "q")));
  });

  test("calls listeners once for changes at the same time, and not after they are removed", async () => {
    const store = new FleetStore();
    const [listener, other] = [vi.fn(), vi.fn()];
    store.subscribe(listener);
    const stop = store.subscribe(other);
    store.apply(SNAPSHOT, "e-10");
    store.apply(fleetStatus(), "e-11");
    stop();
    expect(listener).not.toHaveBeenCalled();
    await Promise.resolve();
    expect(listener).toHaveBeenCalledTimes(1);
    expect(other).not.toHaveBeenCalled();
    store.apply(line("x"), "e-12");
    await Promise.resolve();
    expect(listener).toHaveBeenCalledTimes(1);
  });

  test("says the same whenever its state is read, and never changes what it gave", () => {
    const event = fc.oneof(
      fc.nat(5).map((running) => fleetStatus(running)),
      fc.constantFrom("RUNNING", "CRASHED").map((status) => statusChange(status)),
      fc.nat(9).map((at): AnyEvent => ({ type: "metric_update", ...sample(at) })),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.boolean())), (events) => {
        const [read, unread] = [storeWithSnapshot(), storeWithSnapshot()];
        const given = events.flatMap(([event, isRead]) => {
          read.apply(event);
          unread.apply(event);
          return isRead ? [{ state: read.state, copy: structuredClone(read.state) }] : [];
        });
        expect(read.state).toEqual(unread.state);
        for (const { state, copy } of given) expect(state).toEqual(copy);
      }),
      { seed: 7 },
    );
  });
});
