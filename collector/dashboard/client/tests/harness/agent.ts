/** The agents' protocol by plain HTTP: what harnesses of nodes have in common. */

import { randomUUID } from "node:crypto";
import { eventually } from "./eventually.ts";

export interface Host {
  hostname: string;
  agentVersion: string;
  labels: Record<string, string>;
}

/** A report; its sequence number is given when it is sent. */
export type Report = Record<string, unknown>;

export class AgentClient {
  readonly nodeId: string;
  readonly #url: string;
  readonly #token: string;
  readonly #bootId = randomUUID();
  #seq = 0;

  private constructor(url: string, nodeId: string, token: string) {
    this.nodeId = nodeId;
    this.#url = url;
    this.#token = token;
  }

  static async enroll(url: string, token: string, host: Host): Promise<AgentClient> {
    const answer = await fetch(`${url}/api/v1/agent/enroll`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...host, os: "linux/amd64", machineId: host.hostname }),
    });
    if (!answer.ok) throw new Error(`enrolment: HTTP ${answer.status} ${await answer.text()}`);
    const { nodeId, nodeToken } = (await answer.json()) as { nodeId: string; nodeToken: string };
    return new AgentClient(url, nodeId, nodeToken);
  }

  /** Sends the next reports until they are committed, over deaths of the collector. */
  async send(reports: readonly Report[]): Promise<void> {
    const first = this.#seq + 1;
    this.#seq += reports.length;
    const last = this.#seq;
    const numbered = reports.map((report, index) => ({ seq: first + index, ...report }));
    await eventually(`report ${last} of ${this.nodeId} is committed`, async () => {
      const answer = await fetch(`${this.#url}/api/v1/agent/reports`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.#token}` },
        body: JSON.stringify({ bootId: this.#bootId, sentAt: Date.now(), reports: numbered }),
      }).catch(() => undefined);
      if (answer === undefined || answer.status === 503) return false;
      if (!answer.ok) throw new Error(`a report: HTTP ${answer.status} ${await answer.text()}`);
      const { durableSeq, refused } = (await answer.json()) as { durableSeq: number; refused: unknown[] };
      if (refused.length > 0) throw new Error(`a report was refused: ${JSON.stringify(refused)}`);
      return durableSeq >= last;
    });
  }
}
