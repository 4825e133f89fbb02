/** A node that speaks the agents' protocol by plain HTTP. */

import { AgentClient } from "./agent.ts";
import type { NewToken } from "./collector.ts";

/** A pipeline in a report; what it leaves out is nothing. */
export interface TestPipeline {
  id: string;
  status?: string;
  lines?: string[];
  /** Counts of a source and a sink over 5 s. */
  events?: { in: number; out: number };
}

export class TestNode {
  readonly id: string;
  readonly #agent: AgentClient;

  private constructor(agent: AgentClient) {
    this.id = agent.nodeId;
    this.#agent = agent;
  }

  static async enroll(url: string, { token }: NewToken, hostname: string): Promise<TestNode> {
    return new TestNode(await AgentClient.enroll(url, token, { hostname, agentVersion: "0.1.0", labels: {} }));
  }

  /** Sends the next report until it is committed, over deaths of the collector. */
  async report(...pipelines: TestPipeline[]): Promise<void> {
    const end = Date.now();
    await this.#agent.send([
      { start: end - 5_000, end, pipelines: pipelines.map((pipeline) => toWire(pipeline, end)) },
    ]);
  }
}

function toWire({ id, status = "RUNNING", lines = [], events }: TestPipeline, at: number) {
  const logs = lines.map((line) => ({ at, stream: "stdout", level: "INFO", line }));
  if (events === undefined) return { id, name: id.toUpperCase(), status, logs };
  const sample = { eventsIn: events.in, eventsOut: events.out };
  const components = [
    { id: "in", kind: "source", receivedEvents: events.in, sentEvents: events.in },
    { id: "out", kind: "sink", receivedEvents: events.out, sentEvents: events.out },
  ];
  return { id, name: id.toUpperCase(), status, logs, sample, components };
}
