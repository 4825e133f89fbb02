/** Nodes that report what a test wants to see, also of the past. */

import { AgentClient } from "../../../client/tests/harness/agent.ts";
import type { TestCollector } from "../../../client/tests/harness/collector.ts";

export interface Pipeline {
  id: string;
  status?: string;
  reason?: string;
  /** Events over the report's interval, through the four components of {@link TOPOLOGY}. */
  events?: number;
  discarded?: number;
  lines?: { level: string; line: string }[];
  withoutTopology?: boolean;
}

const TOPOLOGY = {
  components: [
    { id: "in", kind: "source", componentType: "http_server" },
    { id: "parse", kind: "transform", componentType: "remap" },
    { id: "store", kind: "sink", componentType: "clickhouse" },
    { id: "alert", kind: "sink", componentType: "http" },
  ],
  edges: [
    { from: "in", to: "parse" },
    { from: "parse", to: "store" },
    { from: "parse", to: "alert" },
  ],
};

const CHECKSUM = "c".repeat(64);
const INTERVAL_MS = 5_000;

export class FleetNode {
  readonly id: string;
  readonly name: string;
  readonly #agent: AgentClient;
  readonly #labels: Record<string, string>;
  #cpuSeconds = 0;

  private constructor(agent: AgentClient, name: string, labels: Record<string, string>) {
    this.id = agent.nodeId;
    this.#agent = agent;
    this.name = name;
    this.#labels = labels;
  }

  static async enroll(collector: TestCollector, name: string, labels: Record<string, string> = {}): Promise<FleetNode> {
    const { token } = await collector.createToken("enroll");
    const agent = await AgentClient.enroll(collector.url, token, { hostname: name, agentVersion: "0.2.0", labels });
    return new FleetNode(agent, name, labels);
  }

  /** Reports of these times, each of one interval; now, when none is named. Waits until they are committed. */
  async report(pipelines: readonly Pipeline[], times: readonly number[] = [Date.now()]): Promise<void> {
    for (let from = 0; from < times.length; from += 50)
      await this.#agent.send(times.slice(from, from + 50).map((end) => this.#toReport(pipelines, end)));
  }

  #toReport(pipelines: readonly Pipeline[], end: number) {
    this.#cpuSeconds += 20;
    return {
      start: end - INTERVAL_MS,
      end,
      agent: { name: this.name, version: "0.2.0", labels: this.#labels },
      host: {
        memoryTotalBytes: 16e9,
        memoryUsedBytes: 6e9,
        cpuSecondsTotal: this.#cpuSeconds,
        cpuSecondsIdle: this.#cpuSeconds * 0.75,
        loadAvg1: 0.5,
      },
      pipelines: pipelines.map((pipeline) => toWire(pipeline, end)),
    };
  }
}

function toWire(
  { id, status = "RUNNING", reason, events, discarded = 0, lines = [], withoutTopology }: Pipeline,
  at: number,
) {
  const logs = lines.map(({ level, line }) => ({ at, stream: "stdout", level, line }));
  const base = { id, name: id.toUpperCase(), status, reason, version: 3, logs, configChecksum: CHECKSUM };
  const topology = withoutTopology === true ? {} : { topology: TOPOLOGY };
  if (events === undefined) return { ...base, ...topology };
  const out = events - discarded;
  const component = (name: string, kind: string, received: number, sent: number) => ({
    id: name,
    kind,
    receivedEvents: received,
    sentEvents: sent,
  });
  return {
    ...base,
    ...topology,
    sample: { eventsIn: events, eventsOut: out, discarded },
    components: [
      component("in", "source", events, events),
      { ...component("parse", "transform", events, out), discarded },
      component("store", "sink", out, out),
      component("alert", "sink", out, out),
    ],
  };
}
