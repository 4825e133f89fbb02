/** A node that speaks the agents' protocol by plain HTTP. */

import { randomUUID } from "node:crypto";
import type { NewToken } from "./collector.ts";
import { eventually } from "./eventually.ts";

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
  readonly #url: string;
  readonly #token: string;
  readonly #bootId = randomUUID();
  #seq = 0;

  private constructor(id: string, url: string, token: string) {
    this.id = id;
    this.#url = url;
    this.#token = token;
  }

  static async enroll(url: string, { token }: NewToken, hostname: string): Promise<TestNode> {
    const host = { hostname, os: "linux/amd64", agentVersion: "0.1.0", labels: {}, machineId: hostname };
    const answer = await fetch(`${url}/api/v1/agent/enroll`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...host }),
    });
    if (!answer.ok) throw new Error(`enrolment: HTTP ${answer.status} ${await answer.text()}`);
    const { nodeId, nodeToken } = (await answer.json()) as { nodeId: string; nodeToken: string };
    return new TestNode(nodeId, url, nodeToken);
  }

  /** Sends the next report until it is committed, over deaths of the collector. */
  async report(...pipelines: TestPipeline[]): Promise<void> {
    this.#seq += 1;
    const seq = this.#seq;
    const end = Date.now();
    const reports = [{ seq, start: end - 5_000, end, pipelines: pipelines.map((pipeline) => toWire(pipeline, end)) }];
    await eventually(`report ${seq} is committed`, async () => {
      const answer = await fetch(`${this.#url}/api/v1/agent/reports`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.#token}` },
        body: JSON.stringify({ bootId: this.#bootId, sentAt: Date.now(), reports }),
      }).catch(() => undefined);
      if (answer === undefined || answer.status === 503) return false;
      if (!answer.ok) throw new Error(`a report: HTTP ${answer.status} ${await answer.text()}`);
      const { durableSeq, refused } = (await answer.json()) as { durableSeq: number; refused: unknown[] };
      if (refused.length > 0) throw new Error(`a report was refused: ${JSON.stringify(refused)}`);
      return durableSeq >= seq;
    });
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
