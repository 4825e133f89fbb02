/** A fleet for the pictures of the documentation: fourteen nodes with a day of history, a hole in it, and a crash now. */

import { AgentClient, type Report } from "../../client/tests/harness/agent.ts";
import type { TestCollector } from "../../client/tests/harness/collector.ts";

const SITES = ["berlin", "lyon", "oslo", "porto"];
const INTERVAL_MS = 5_000;
const MINUTE_MS = 60_000;
const DAY_MS = 1_440 * MINUTE_MS;
const GIB = 2 ** 30;

interface Component {
  id: string;
  kind: "source" | "transform" | "sink";
  type: string;
  /** The share of the pipeline's events that reaches it, and of these what leaves it. */
  received: number;
  sent: number;
  buffer?: number;
}

interface Definition {
  id: string;
  name: string;
  version: number;
  /** Events a second on a usual node. */
  rate: number;
  components: Component[];
  edges: [from: string, to: string, output?: string][];
}

const ORDERS: Definition = {
  id: "orders",
  name: "Orders",
  version: 12,
  rate: 1_400,
  components: [
    { id: "kafka_in", kind: "source", type: "kafka", received: 0.5, sent: 0.5 },
    { id: "http_in", kind: "source", type: "http_server", received: 0.5, sent: 0.5 },
    { id: "parse", kind: "transform", type: "remap", received: 1, sent: 1 },
    { id: "enrich", kind: "transform", type: "remap", received: 1, sent: 1 },
    { id: "route", kind: "transform", type: "route", received: 1, sent: 1 },
    { id: "dedupe", kind: "transform", type: "dedupe", received: 0.98, sent: 0.98 },
    { id: "archive", kind: "sink", type: "aws_s3", received: 1, sent: 1, buffer: 0.06 },
    { id: "warehouse", kind: "sink", type: "clickhouse", received: 0.98, sent: 0.98, buffer: 0.58 },
    { id: "alerts", kind: "sink", type: "http", received: 0.02, sent: 0.02, buffer: 0.04 },
  ],
  edges: [
    ["kafka_in", "parse"],
    ["http_in", "parse"],
    ["parse", "enrich"],
    ["enrich", "archive"],
    ["enrich", "route"],
    ["route", "dedupe", "ok"],
    ["route", "alerts", "errors"],
    ["dedupe", "warehouse"],
  ],
};

const simple = (id: string, name: string, rate: number, version: number, source: string, sink: string): Definition => ({
  id,
  name,
  rate,
  version,
  components: [
    { id: "in", kind: "source", type: source, received: 1, sent: 1 },
    { id: "shape", kind: "transform", type: "remap", received: 1, sent: 1 },
    { id: "out", kind: "sink", type: sink, received: 1, sent: 1, buffer: 0.1 },
  ],
  edges: [
    ["in", "shape"],
    ["shape", "out"],
  ],
});

const AUDIT = simple("audit", "Audit trail", 60, 4, "file", "elasticsearch");
const METRICS = simple("metrics", "Host metrics", 320, 3, "host_metrics", "prometheus_remote_write");

const LINES: readonly [level: string, line: string][] = [
  ["INFO", "request accepted method=POST path=/orders status=202 bytes=1843"],
  ["DEBUG", "batch flushed events=512 took_ms=18"],
  ["INFO", "\u001b[32mINFO\u001b[0m vector::topology: healthcheck passed sink=warehouse"],
  ["WARN", '\u001b[33mWARN\u001b[0m sink.archive: retrying request attempt=2 error="503 Slow Down"'],
  ["INFO", '{"level":"info","msg":"order stored","order_id":"o-81723","amount":129.9}'],
  ["INFO", "consumer lag topic=orders partition=3 lag=42"],
];

/** The hour of the day moves what flows, between a night and a noon. */
const daily = (at: number) => 0.62 + 0.38 * Math.sin(((at % DAY_MS) / DAY_MS) * 2 * Math.PI - Math.PI / 2);

class PictureNode {
  readonly name: string;
  readonly #agent: AgentClient;
  readonly #labels: Record<string, string>;
  readonly #definitions: readonly Definition[];
  readonly #weight: number;
  #random: number;
  #cpuSeconds = 1e5;
  #idleSeconds = 7e4;
  #bytes = 1e9;

  constructor(
    agent: AgentClient,
    name: string,
    labels: Record<string, string>,
    definitions: Definition[],
    seed: number,
  ) {
    this.name = name;
    this.#agent = agent;
    this.#labels = labels;
    this.#definitions = definitions;
    this.#random = seed;
    this.#weight = 0.5 + this.#next();
  }

  /** Even numbers from 0 to 1, the same in each run. */
  #next(): number {
    this.#random = (this.#random * 16_807) % 2_147_483_647;
    return this.#random / 2_147_483_647;
  }

  /** A report that ends at this time and stands for this long. */
  report(at: number, seconds: number, crash?: string): Report {
    const load = daily(at) * this.#weight;
    const busy = 0.15 + 0.3 * load + 0.04 * this.#next();
    this.#cpuSeconds += 8 * seconds;
    this.#idleSeconds += 8 * seconds * (1 - busy);
    this.#bytes += load * 2e6 * seconds;
    return {
      start: at - INTERVAL_MS,
      end: at,
      agent: {
        name: this.name,
        version: "0.2.0",
        vectorVersion: "0.58.0",
        runningAs: "systole",
        labels: this.#labels,
        uptimeSeconds: 36_000,
        clockSkewMs: 3,
      },
      host: {
        memoryTotalBytes: 16 * GIB,
        memoryUsedBytes: Math.round((5 + load) * GIB),
        memoryFreeBytes: Math.round((11 - load) * GIB),
        cpuSecondsTotal: this.#cpuSeconds,
        cpuSecondsIdle: this.#idleSeconds,
        loadAvg1: busy * 8,
        fsTotalBytes: 256 * GIB,
        fsUsedBytes: 96 * GIB,
        netRxBytes: Math.round(this.#bytes),
        netTxBytes: Math.round(this.#bytes * 0.7),
        diskReadBytes: Math.round(this.#bytes * 0.06),
        diskWrittenBytes: Math.round(this.#bytes * 0.3),
      },
      pipelines: this.#definitions.map((definition) => this.#run(definition, at, seconds, load, crash)),
    };
  }

  #run(
    { id, name, version, rate, components, edges }: Definition,
    at: number,
    seconds: number,
    load: number,
    crash?: string,
  ) {
    const lines = seconds === 5 && this.#next() > 0.4 ? [LINES[Math.floor(this.#next() * LINES.length)]] : [];
    const logs = lines.flatMap((line) =>
      line === undefined
        ? []
        : [{ at: Math.round(at - this.#next() * 4_000), stream: "stderr", level: line[0], line: line[1] }],
    );
    const base = {
      id,
      name,
      version,
      logs,
      configChecksum: id.padEnd(64, "0").replace(/[^0-9a-f]/g, "a"),
      restarts: 0,
    };
    const topology = {
      components: components.map((one) => ({ id: one.id, kind: one.kind, componentType: one.type })),
      edges: edges.map(([from, to, output]) => ({ from, to, ...(output !== undefined && { output }) })),
    };
    if (crash !== undefined && id === "orders") return { ...base, topology, status: "CRASHED", reason: crash };
    const events = Math.round(rate * load * seconds * (0.96 + 0.08 * this.#next()));
    const discarded = this.#next() > 0.7 ? Math.round(events * 0.0004) : 0;
    const errors = this.#next() > 0.93 ? 1 : 0;
    return {
      ...base,
      topology,
      status: "RUNNING",
      sample: {
        eventsIn: events,
        eventsOut: events - discarded,
        bytesIn: events * 320,
        bytesOut: events * 300,
        discarded,
        errors,
        latencyMs: 3.2 + this.#next(),
        utilization: 0.2 + 0.3 * load,
      },
      components: components.map((one) => ({
        id: one.id,
        kind: one.kind,
        receivedEvents: Math.round(events * one.received),
        sentEvents: Math.round(events * one.sent),
        latencyMs: 3.5 + this.#next() * 0.5,
        utilization: 0.2 + 0.3 * load,
        ...(one.buffer !== undefined && { bufferEvents: Math.round(one.buffer * 500), bufferMaxEvents: 500 }),
      })),
    };
  }

  async send(reports: Report[]): Promise<void> {
    for (let from = 0; from < reports.length; from += 90) await this.#agent.send(reports.slice(from, from + 90));
  }
}

/** Makes the fleet and its past. The function that is returned sends a report of each node. */
export async function makeFleet(collector: TestCollector): Promise<() => Promise<void>> {
  const { token } = await collector.createToken("enroll");
  const nodes: PictureNode[] = [];
  for (let number = 0; number < 14; number += 1) {
    const site = SITES[number % SITES.length] ?? "";
    const role = number < 4 ? "core" : "edge";
    const name = `${role}-${site}-${1 + Math.floor((number < 4 ? number : number - 4) / SITES.length)}`;
    const labels: Record<string, string> = { role, site, ...(number === 6 && { canary: "" }) };
    const agent = await AgentClient.enroll(collector.url, token, { hostname: name, agentVersion: "0.2.0", labels });
    const definitions =
      role === "core" ? [ORDERS, AUDIT, METRICS] : number % 2 === 0 ? [ORDERS, METRICS] : [AUDIT, METRICS];
    nodes.push(new PictureNode(agent, name, labels, definitions, 7 + number * 1_013));
  }
  const end = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - MINUTE_MS;
  for (const [index, node] of nodes.entries()) {
    const past: Report[] = [];
    for (let at = end - DAY_MS; at <= end; at += MINUTE_MS) {
      // One node was away for an hour and a half, and lost what it had no room for.
      const isHole = index === 4 && at > end - 8 * 3_600_000 && at < end - 6.5 * 3_600_000;
      if (!isHole) past.push(node.report(at + 30_000, 60));
    }
    await node.send(past);
  }
  let rounds = 0;
  return async () => {
    rounds += 1;
    // The first rounds are well, so that the crash is a change that the page sees.
    const crash = rounds > 12 ? "exit status 78: configuration error in sink warehouse" : undefined;
    for (const [index, node] of nodes.entries())
      await node.send([node.report(Date.now(), 5, index === 4 ? crash : undefined)]);
  };
}
