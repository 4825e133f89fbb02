/**
 * The fleet as it is: nodes, pipelines and last samples, out of the snapshot and the events behind it.
 *
 * What it gives out never changes: a change makes a new object for the node or pipeline and leaves the others the same,
 * so a view sees by `===` whether something of its own is different. Maps are copied only when somebody has read them
 * since: ten thousand nodes report two thousand times a second, and a copy for each would be all that is done.
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
  /** The host's name; the id until a snapshot tells it. */
  readonly name: string;
  readonly status: NodeStatus;
  /** Time of the last report; null before the first. */
  readonly lastSeenAt: number | null;
  /** Pipelines whose process lives; undefined until a report tells it. */
  readonly pipelinesRunning: number | undefined;
}

export interface PipelineState {
  readonly nodeId: NodeId;
  readonly pipelineId: PipelineId;
  readonly pipelineName: string;
  readonly status: PipelineStatus;
  /** Why it is in this state; empty when the reporter did not say. */
  readonly reason: string;
  /** Since when. */
  readonly since: number;
  /** The last sample; undefined before the first. One of a snapshot has no components. */
  readonly sample: MetricUpdate | undefined;
}

export interface FleetState {
  readonly nodes: ReadonlyMap<NodeId, NodeState>;
  /** By {@link pipelineKey}: a pipeline is there once for each of its nodes. */
  readonly pipelines: ReadonlyMap<string, PipelineState>;
  /** Whether a snapshot was taken. Before it, only what events told is here. */
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
  /** What was given out since the last change. */
  #given: FleetState | undefined;
  /** Somebody may hold this very map. */
  #nodesAreGiven = false;
  #pipelinesAreGiven = false;
  /** What the snapshot has already; its stream's later events may still come. */
  #watermark: EventId | undefined;
  #isTelling = false;
  readonly #listeners = new Set<() => void>();

  /** The state now. The same object until something changes. */
  get state(): FleetState {
    this.#given ??= { nodes: this.#nodes, pipelines: this.#pipelines, isComplete: this.#isComplete };
    this.#nodesAreGiven = true;
    this.#pipelinesAreGiven = true;
    return this.#given;
  }

  /**
   * Calls `listener` after changes, once for those that came together; what it returns stops that. Fits React's
   * `useSyncExternalStore(store.subscribe, () => store.state)`.
   */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** The pipelines on one node. */
  pipelinesOf(nodeId: NodeId): PipelineState[] {
    return [...this.#pipelines.values()].filter((pipeline) => pipeline.nodeId === nodeId);
  }

  /** Takes an event and the id from its context; events that say nothing about the state are passed over. */
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
        this.#takeFleetStatus(event);
        break;
      case "metric_update": {
        const { type: _, ...sample } = event;
        this.#changePipeline(event, { sample });
        break;
      }
      case "status_change":
        this.#takeStatusChange(event);
        break;
    }
  }

  #takeFleetStatus({ nodeId, status, timestamp, pipelinesRunning }: EventOf<"fleet_status">): void {
    // That a node is unreachable is no report of it.
    const seen = status === "UNREACHABLE" ? {} : { lastSeenAt: timestamp };
    this.#changeNode(nodeId, { status, pipelinesRunning, ...seen });
  }

  #takeStatusChange(change: EventOf<"status_change">): void {
    const { nodeId, pipelineId, pipelineName, toStatus, reason, timestamp } = change;
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
    this.#given = undefined;
    for (const node of snapshot.nodes ?? []) this.#changeNode(node.nodeId, node);
    for (const pipeline of snapshot.pipelines ?? []) this.#changePipeline(pipeline, pipeline);
    for (const sample of snapshot.samples ?? []) this.#changePipeline(sample, { sample });
    this.#tell();
  }

  #changeNode(nodeId: NodeId, change: Partial<NodeState>): void {
    const known = this.#nodes.get(nodeId) ?? unknownNode(nodeId);
    if (this.#nodesAreGiven) this.#nodes = new Map(this.#nodes);
    this.#nodesAreGiven = false;
    this.#nodes.set(nodeId, { ...known, ...change });
    this.#tell();
  }

  #changePipeline({ nodeId, pipelineId }: PipelineOnNode, change: Partial<PipelineState>): void {
    const key = pipelineKey(nodeId, pipelineId);
    const known = this.#pipelines.get(key) ?? unknownPipeline(nodeId, pipelineId);
    if (this.#pipelinesAreGiven) this.#pipelines = new Map(this.#pipelines);
    this.#pipelinesAreGiven = false;
    this.#pipelines.set(key, { ...known, ...change });
    this.#tell();
  }

  /** Events that came with the same bytes are one change to whoever listens. */
  #tell(): void {
    this.#given = undefined;
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
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
