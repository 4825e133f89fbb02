// What the feed says, made from the Rust types in shared/src by `make types`. Not to be edited.

/** An event with an id. */
export type FeedEvent =
  | ({ type: "fleet_status" } & FleetStatus)
  | ({ type: "metric_update" } & MetricUpdate)
  | ({ type: "status_change" } & StatusChange)
  | ({ type: "log_entry" } & LogEntry)
  | ({ type: "deployment" } & Deployment)
  | ({ type: "alert" } & AlertChange)
  | ({ type: "fleet_totals" } & FleetTotals);

/** The event types that a subscriber can ask for. */
export type EventType =
  | "fleet_status"
  | "metric_update"
  | "status_change"
  | "log_entry"
  | "deployment"
  | "alert"
  | "fleet_totals";

/** The state of a node. */
export type FleetStatus = {
  /** The node. */
  nodeId: NodeId;
  /** Its state. */
  status: NodeStatus;
  /** End of the report's interval, or when the collector noticed the silence. */
  timestamp: number;
  /** Pipelines whose process runs. */
  pipelinesRunning: number;
};

/**
 * All nodes of an environment and their pipelines, counted.
 *
 * Rates are those of the last report of each node. A node that is silent and a pipeline without a sample add nothing.
 */
export type FleetTotals = {
  /** The environment. */
  environmentId: EnvironmentId;
  /** When they were counted, by the collector's clock. */
  timestamp: number;
  /** Nodes by state. A state without a node is left out. */
  nodes: { [key in NodeStatus]?: number };
  /** Pipelines on nodes, by state. A state without a pipeline is left out. */
  pipelines: { [key in PipelineStatus]?: number };
  /** Events per second that sources received. */
  eventsInRate: number;
  /** Events per second that sinks sent. */
  eventsOutRate: number;
  /** Errors per second. */
  errorsRate: number;
  /** Events per second that components discarded. */
  discardedRate: number;
};

/** The rates of a pipeline over one report's interval. */
export type MetricUpdate = {
  /** The node. */
  nodeId: NodeId;
  /** The pipeline. */
  pipelineId: PipelineId;
  /** End of the interval. */
  timestamp: number;
  /** The pipeline as a whole. */
  sample: RateSample;
  /** Its components. */
  components: Array<ComponentSample>;
};

/** The rates of one component. */
export type ComponentSample = {
  /** As the engine names it. */
  componentId: ComponentId;
  /** What it does. */
  kind: ComponentKind;
  /** Its rates. */
  sample: RateSample;
};

/** Rates of a pipeline or a component, of the names that VectorFlow's dashboards use. */
export type RateSample = {
  /** End of the interval. */
  timestamp: number;
  /** Events received per second. */
  receivedEventsRate: number;
  /** Events sent per second. */
  sentEventsRate: number;
  /** Bytes received per second. */
  receivedBytesRate: number;
  /** Bytes sent per second. */
  sentBytesRate: number;
  /** Errors in the interval. */
  errorCount: number;
  /** Errors per second. */
  errorsRate: number;
  /** Events dropped per second. */
  discardedRate: number;
  /** Mean latency in milliseconds; null when the engine does not report it. */
  latencyMeanMs: number | null;
};

/** A node or a pipeline changed its state, or has a new reason for the same state. */
export type StatusChange = {
  /** The node. */
  nodeId: NodeId;
  /** Its name when this happened. Events of earlier versions have none. */
  nodeName?: string;
  /** The pipeline, unless the node itself changed. */
  pipelineId?: PipelineId;
  /** Its name for people. */
  pipelineName?: string;
  /** The state before; `UNKNOWN` before the first report. */
  fromStatus: string;
  /** The state now; the same as before when only the reason is new. */
  toStatus: string;
  /** Why; empty when the report does not state it. */
  reason: string;
  /** When it happened. */
  timestamp: number;
};

/** Lines that a pipeline wrote, in order. */
export type LogEntry = {
  /** The node. */
  nodeId: NodeId;
  /** The pipeline. */
  pipelineId: PipelineId;
  /** The lines. */
  entries: Array<LogEntryLine>;
};

/** One line of a [`LogEntry`]. */
export type LogEntryLine = {
  /** When the agent read it. */
  at: number;
  /** Where it came from. */
  stream: LogStream;
  /** The severity that it states; null when it states none. */
  level: LogLevel | null;
  /** The text. */
  line: string;
};

/** A version of a pipeline went a step further on a node, or has a new reason for the same step. */
export type Deployment = {
  /** The node. */
  nodeId: NodeId;
  /** The pipeline; `agent` for an update of the agent itself. */
  pipelineId: PipelineId;
  /** The version. */
  version: number;
  /** How far it is. */
  phase: DeploymentPhase;
  /** Why, in the engine's own words; empty when there is nothing to say. */
  reason: string;
  /** When it happened. */
  timestamp: number;
};

/** The progress of a version on a node. */
export type DeploymentPhase =
  | "pending"
  | "validating"
  | "starting"
  | "healthy"
  | "rejected"
  | "rolled_back"
  | "paused"
  | "removed";

/** An alert changed its state. */
export type AlertChange = {
  /** The rule. */
  rule: string;
  /** What the alert is about, for people: a node, a pipeline on a node as `node/pipeline`, or a part of the collector. */
  subject: string;
  /** The environment; absent for an alert about the collector. */
  environmentId?: EnvironmentId;
  /** The node; absent for an alert about the collector. */
  nodeId?: NodeId;
  /** The pipeline on the node, if the alert is about one. */
  pipelineId?: PipelineId;
  /** The state now. */
  state: AlertState;
  /** How severe it is. */
  severity: AlertSeverity;
  /** What the rule measured; null when it measures nothing. */
  value: number | null;
  /** Since when the condition holds, or held. */
  since: number;
  /** What is wrong, for people. */
  text: string;
  /** When the state changed. */
  timestamp: number;
};

/** How far an alert is. */
export type AlertState = "pending" | "firing" | "resolved" | "cancelled";

/** How severe an alert is. */
export type AlertSeverity = "info" | "warning" | "critical";

/**
 * Control events: they steer the connection and carry no id of their own, except the last chunk
 * of a snapshot.
 */
export type ControlEvent =
  | {
      type: "hello";
      /** The database's epoch, the first half of every id. */
      epoch: string;
      /** Highest sequence number that is committed. */
      head: number;
      /** Lowest sequence number that is still kept. */
      oldest: number;
      /** A ping comes at least this often. */
      pingMs: number;
      /** Name and version of the server. */
      server: string;
      /** Whether the stream continues from the id that the client named. */
      resumed: boolean;
    }
  | {
      type: "snapshot";
      /** Nodes with their state. */
      nodes?: Array<SnapshotNode>;
      /** Pipelines on nodes with their state. */
      pipelines?: Array<SnapshotPipeline>;
      /** The last sample of every pipeline, in the form of `metric_update`. */
      samples?: Array<MetricUpdate>;
      /** The last totals of every environment, in the form of `fleet_totals`. */
      totals?: Array<FleetTotals>;
      /** Whether this is the last part. */
      done?: boolean;
    }
  | {
      type: "ping";
      /** The collector's clock. */
      now: number;
    }
  | {
      type: "gap";
      /** First sequence number that may be missing. */
      from: number;
      /** Last one. */
      to: number;
      /** Types that may be missing. */
      types: Array<EventType>;
      /** Why. */
      reason: GapReason;
    }
  | {
      type: "reset";
      /** Why. */
      reason: ResetReason;
    }
  | {
      type: "goodbye";
      /** Why. */
      reason: GoodbyeReason;
      /** Milliseconds to wait before the next connection. */
      retryMs: number;
    };

/** A node in a snapshot. */
export type SnapshotNode = {
  /** The node. */
  nodeId: NodeId;
  /** Its host's name. */
  name: string;
  /** Its state. */
  status: NodeStatus;
  /** When its last report came; null before the first. */
  lastSeenAt: number | null;
  /** The end of its maintenance; null when there is none. */
  maintenanceUntil: number | null;
};

/** A pipeline on a node in a snapshot. */
export type SnapshotPipeline = {
  /** The node. */
  nodeId: NodeId;
  /** The pipeline. */
  pipelineId: PipelineId;
  /** Its name for people. */
  pipelineName: string;
  /** Its state. */
  status: PipelineStatus;
  /** Why. */
  reason: string;
  /** Since when. */
  since: number;
};

/** Why events are missing. */
export type GapReason = "retention" | "limit" | "slow" | "restart";

/** Why an id is not valid. */
export type ResetReason = "epoch" | "ahead";

/** Why the server closes a connection. */
export type GoodbyeReason = "shutdown" | "revoked" | "overloaded" | "slow";

/** An environment: a token of one environment sees nothing of another. */
export type EnvironmentId = string;

/** A node: one host with one agent. The collector makes the id at enrolment. */
export type NodeId = string;

/** A pipeline, named by the user; unique in its environment. */
export type PipelineId = string;

/** A component of a pipeline, as the engine names it. */
export type ComponentId = string;

/** The state of a node, as the collector sees it. */
export type NodeStatus = "HEALTHY" | "DEGRADED" | "UNREACHABLE" | "OFFLINE" | "UNKNOWN";

/** The state of a pipeline. */
export type PipelineStatus =
  | "PENDING"
  | "STARTING"
  | "RUNNING"
  | "DEGRADED"
  | "STOPPED"
  | "CRASHED"
  | "CRASH_LOOP"
  | "UNKNOWN";

/** What a component does in its pipeline. */
export type ComponentKind = "source" | "sink" | "transform" | "unknown";

/** The severity that a line states. Ordered: a filter takes a level and all above it. */
export type LogLevel = "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR";

/** Where a line came from. The agent of a later version may name other sources; they are read as unknown. */
export type LogStream = "stdout" | "stderr" | "file" | "unknown";
