/** Nodes that report what a test wants to see, also of the past. */

import { randomUUID } from "node:crypto";
import type { TestCollector } from "../../../client/tests/harness/collector.ts";
import { eventually } from "../../../client/tests/harness/eventually.ts";

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
  readonly #url: string;
  readonly #token: string;
  readonly #labels: Record<string, string>;
  readonly #bootId = randomUUID();
  #seq = 0;
  #cpuSeconds = 0;

  private constructor(url: string, id: string, token: string, name: string, labels: Record<string, string>) {
    this.#url = url;
    this.id = id;
    this.#token = token;
    this.name = name;
    this.#labels = labels;
  }

  static async enroll(collector: TestCollector, name: string, labels: Record<string, string> = {}): Promise<FleetNode> {
    const { token } = await collector.createToken("enroll");
    const answer = await fetch(`${collector.url}/api/v1/agent/enroll`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        token,
        hostname: name,
        os: "linux/amd64",
        agentVersion: "0.2.0",
        labels,
        machineId: name,
      }),
    });
    if (!answer.ok) throw new Error(`enrolment: HTTP ${answer.status} ${await answer.text()}`);
    const { nodeId, nodeToken } = (await answer.json()) as { nodeId: string; nodeToken: string };
    return new FleetNode(collector.url, nodeId, nodeToken, name, labels);
  }

  /** Reports of these times, each of one interval; now, when none is named. Waits until they are committed. */
  async report(pipelines: readonly Pipeline[], times: readonly number[] = [Date.now()]): Promise<void> {
    for (let from = 0; from < times.length; from += 50) {
      const reports = times.slice(from, from + 50).map((end) => this.#toReport(pipelines, end));
      const last = this.#seq;
      await eventually(`report ${last} of ${this.name} is committed`, async () => {
        const answer = await fetch(`${this.#url}/api/v1/agent/reports`, {
          method: "POST",
          headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.#token}` },
          body: JSON.stringify({ bootId: this.#bootId, sentAt: Date.now(), reports }),
        }).catch(() => undefined);
        if (answer === undefined || answer.status === 503) return false;
        if (!answer.ok) throw new Error(`a report: HTTP ${answer.status} ${await answer.text()}`);
        const { durableSeq, refused } = (await answer.json()) as { durableSeq: number; refused: unknown[] };
        if (refused.length > 0) throw new Error(`a report was refused: ${JSON.stringify(refused)}`);
        return durableSeq >= last;
      });
    }
  }

  #toReport(pipelines: readonly Pipeline[], end: number) {
    this.#seq += 1;
    this.#cpuSeconds += 20;
    return {
      seq: this.#seq,
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
