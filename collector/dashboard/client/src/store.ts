/**
 * The state of the fleet: nodes, pipelines and last samples, from the snapshot and the events after it.
 *
 * Objects that were returned never change. A change makes a new object for its node or pipeline and keeps the others, so
 * a view compares with `===`. The maps are copied only if they were read since the last copy: ten thousand nodes report
 * two thousand times a second, and a copy for each report would take all the time.
 */

import { type EventId, parseEventId } from "./event_id.ts";
import type {
  AnyEvent,
  EventOf,
  MetricUpdate,
  NodeId,
  NodeStatus,
  PipelineId,
  PipelineStatus,
  Snapshot,
} from "./wire.ts";

export interface NodeState {
  readonly nodeId: NodeId;
  /** The host's name; the id until a snapshot brings the name. */
  readonly name: string;
  readonly status: NodeStatus;
  /** Time of the last report; null before the first. */
  readonly lastSeenAt: number | null;
  /** Pipelines whose process runs; undefined before the first report. */
  readonly pipelinesRunning: number | undefined;
}

export interface PipelineState {
  readonly nodeId: NodeId;
  readonly pipelineId: PipelineId;
  readonly pipelineName: string;
  readonly status: PipelineStatus;
  /** Why it is in this state; may be empty. */
  readonly reason: string;
  /** Since when. */
  readonly since: number;
  /** The last sample; undefined before the first one. That of a snapshot has no components. */
  readonly sample: MetricUpdate | undefined;
}

export interface FleetState {
  readonly nodes: ReadonlyMap<NodeId, NodeState>;
  /** By {@link pipelineKey}: a pipeline has one entry for each of its nodes. */
  readonly pipelines: ReadonlyMap<string, PipelineState>;
  /** Whether a snapshot was applied. Before it, only subjects of events are known. */
  readonly isComplete: boolean;
}

/** The key of a pipeline on a node. */
export function pipelineKey(nodeId: NodeId, pipelineId: PipelineId): string {
  return `${nodeId}/${pipelineId}`;
}

export class FleetStore {
  #nodes = new Map<NodeId, NodeState>();
  #pipelines = new Map<string, PipelineState>();
  #isComplete = false;
  /** The state that was returned since the last change. */
  #returned: FleetState | undefined;
  /** The caller may still hold this map, so it is copied before a change. */
  #nodesAreShared = false;
  #pipelinesAreShared = false;
  /** The id of the snapshot. Events up to it are in the snapshot already, and may still be delivered. */
  #watermark: EventId | undefined;
  #isNotifying = false;
  readonly #listeners = new Set<() => void>();

  /** The current state. The same object until something changes. */
  get state(): FleetState {
    this.#returned ??= { nodes: this.#nodes, pipelines: this.#pipelines, isComplete: this.#isComplete };
    this.#nodesAreShared = true;
    this.#pipelinesAreShared = true;
    return this.#returned;
  }

  /**
   * Calls `listener` after changes, once for changes at the same time. Returns a function that removes the listener. For
   * React: `useSyncExternalStore(store.subscribe, () => store.state)`.
   */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** The name of a node; undefined while it is not known. For {@link ToastRules}. */
  readonly nodeName = (nodeId: NodeId): string | undefined => this.#nodes.get(nodeId)?.name;

  /** The pipelines on one node. */
  pipelinesOf(nodeId: NodeId): PipelineState[] {
    return [...this.#pipelines.values()].filter((pipeline) => pipeline.nodeId === nodeId);
  }

  /** Applies an event with the id from its context. Events that do not change the state are ignored. */
  apply(event: AnyEvent, id?: string): void {
    const own = id === undefined ? undefined : parseEventId(id);
    if (event.type === "snapshot") {
      this.#watermark = own;
      this.#replace(event);
      return;
    }
    const known = this.#watermark;
    if (own !== undefined && own.epoch === known?.epoch && own.seq <= known.seq) return;
    switch (event.type) {
      case "fleet_status":
        this.#applyFleetStatus(event);
        break;
      case "metric_update": {
        const { type: _, ...sample } = event;
        this.#changePipeline(event, { sample });
        break;
      }
      case "status_change":
        this.#applyStatusChange(event);
        break;
    }
  }

  #applyFleetStatus({ nodeId, status, timestamp, pipelinesRunning }: EventOf<"fleet_status">): void {
    // UNREACHABLE means that there was no report.
    const seen = status === "UNREACHABLE" ? {} : { lastSeenAt: timestamp };
    this.#changeNode(nodeId, { status, pipelinesRunning, ...seen });
  }

  #applyStatusChange(change: EventOf<"status_change">): void {
    const { nodeId, pipelineId, pipelineName, toStatus, reason, timestamp } = change;
    if (toStatus === "REMOVED") {
      this.#remove(nodeId, pipelineId);
      return;
    }
    if (pipelineId === undefined) {
      this.#changeNode(nodeId, { status: toStatus as NodeStatus });
      return;
    }
    const name = pipelineName === undefined ? {} : { pipelineName };
    const status = toStatus as PipelineStatus;
    this.#changePipeline({ nodeId, pipelineId }, { status, reason, since: timestamp, ...name });
  }

  #replace(snapshot: Snapshot): void {
    this.#nodes = new Map();
    this.#pipelines = new Map();
    this.#isComplete = true;
    this.#returned = undefined;
    for (const node of snapshot.nodes ?? []) this.#changeNode(node.nodeId, node);
    for (const pipeline of snapshot.pipelines ?? []) this.#changePipeline(pipeline, pipeline);
    for (const sample of snapshot.samples ?? []) this.#changePipeline(sample, { sample });
    this.#notify();
  }

  #changeNode(nodeId: NodeId, change: Partial<NodeState>): void {
    const known = this.#nodes.get(nodeId) ?? unknownNode(nodeId);
    if (this.#nodesAreShared) this.#nodes = new Map(this.#nodes);
    this.#nodesAreShared = false;
    this.#nodes.set(nodeId, { ...known, ...change });
    this.#notify();
  }

  #changePipeline({ nodeId, pipelineId }: PipelineOnNode, change: Partial<PipelineState>): void {
    const key = pipelineKey(nodeId, pipelineId);
    const known = this.#pipelines.get(key) ?? unknownPipeline(nodeId, pipelineId);
    if (this.#pipelinesAreShared) this.#pipelines = new Map(this.#pipelines);
    this.#pipelinesAreShared = false;
    this.#pipelines.set(key, { ...known, ...change });
    this.#notify();
  }

  /** Forgets a pipeline on a node, or the node with all of them. */
  #remove(nodeId: NodeId, pipelineId: PipelineId | undefined): void {
    const isGone = (pipeline: PipelineState) =>
      pipeline.nodeId === nodeId && (pipelineId === undefined || pipeline.pipelineId === pipelineId);
    this.#pipelines = new Map([...this.#pipelines].filter(([, pipeline]) => !isGone(pipeline)));
    this.#pipelinesAreShared = false;
    if (pipelineId === undefined) {
      this.#nodes = new Map([...this.#nodes].filter(([id]) => id !== nodeId));
      this.#nodesAreShared = false;
    }
    this.#notify();
  }

  /** Events of the same bytes cause one call of the listeners. */
  #notify(): void {
    this.#returned = undefined;
    if (this.#isNotifying) return;
    this.#isNotifying = true;
    queueMicrotask(() => {
      this.#isNotifying = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

type PipelineOnNode = Pick<PipelineState, "nodeId" | "pipelineId">;

function unknownNode(nodeId: NodeId): NodeState {
  return { nodeId, name: nodeId, status: "UNKNOWN", lastSeenAt: null, pipelinesRunning: undefined };
}

function unknownPipeline(nodeId: NodeId, pipelineId: PipelineId): PipelineState {
  const nothing = { status: "UNKNOWN", reason: "", since: 0, sample: undefined } as const;
  return { nodeId, pipelineId, pipelineName: pipelineId, ...nothing };
}
