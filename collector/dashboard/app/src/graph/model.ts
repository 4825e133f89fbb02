/** The graph of a pipeline with what flows through it at one moment, live or past. */

import type { ComponentMinute, ComponentSample, GraphComponent, GraphEdge, PipelineGraph } from "@systole/client";

export interface Flow {
  in: number | null;
  out: number | null;
  errors: number | null;
  discarded: number | null;
  latencyMs: number | null;
}

/** What flows through each component. */
export type Frame = ReadonlyMap<string, Flow>;

export interface Edge {
  key: string;
  from: string;
  to: string;
  output: string | undefined;
}

export interface Shape {
  components: readonly GraphComponent[];
  edges: readonly Edge[];
}

export function shapeOf(graph: PipelineGraph | undefined, samples: readonly ComponentSample[]): Shape {
  if (graph !== undefined && graph.components.length > 0) {
    return { components: graph.components, edges: graph.edges.map(toEdge) };
  }
  // An engine whose configuration cannot be read: its components are known from their metrics.
  return { components: samples.map(({ componentId, kind }) => ({ componentId, kind })), edges: [] };
}

function toEdge({ from, output, to }: GraphEdge): Edge {
  return { key: `${from}.${output ?? ""}→${to}`, from, to, output: output ?? undefined };
}

/** Sums over nodes. */
export function liveFrame(nodes: readonly (readonly ComponentSample[])[]): Frame {
  const frame = new Map<string, Flow>();
  for (const samples of nodes) {
    for (const { componentId, sample } of samples) {
      const sum = frame.get(componentId) ?? { in: 0, out: 0, errors: 0, discarded: 0, latencyMs: null };
      sum.in = (sum.in ?? 0) + sample.receivedEventsRate;
      sum.out = (sum.out ?? 0) + sample.sentEventsRate;
      sum.errors = (sum.errors ?? 0) + sample.errorsRate;
      sum.discarded = (sum.discarded ?? 0) + sample.discardedRate;
      if (sample.latencyMeanMs !== null) sum.latencyMs = Math.max(sum.latencyMs ?? 0, sample.latencyMeanMs);
      frame.set(componentId, sum);
    }
  }
  return frame;
}

/** The collector's own sums, until the first report comes. */
export function graphFrame(components: readonly GraphComponent[]): Frame {
  return new Map(
    components.map(({ componentId, receivedEventsRate, sentEventsRate }) => [
      componentId,
      { in: receivedEventsRate ?? null, out: sentEventsRate ?? null, errors: null, discarded: null, latencyMs: null },
    ]),
  );
}

export function minuteFrame(items: readonly ComponentMinute[], at: number): Frame {
  const frame = new Map<string, Flow>();
  for (const item of items) {
    if (item.at !== at) continue;
    frame.set(item.componentId, {
      in: item.receivedEvents / 60,
      out: item.sentEvents / 60,
      errors: item.errors / 60,
      discarded: item.discarded / 60,
      latencyMs: item.latencyMs ?? null,
    });
  }
  return frame;
}

/**
 * What flows over an edge. A component reports the sum of its outputs: with one output that is the edge's number, and with
 * several the receiver's input is, if nothing else flows into it.
 */
export function edgeRate(edge: Edge, edges: readonly Edge[], frame: Frame): number | null {
  const outputs = new Set(edges.filter(({ from }) => from === edge.from).map(({ output }) => output ?? ""));
  if (outputs.size === 1) return frame.get(edge.from)?.out ?? null;
  const inputs = edges.filter(({ to }) => to === edge.to);
  return inputs.length === 1 ? (frame.get(edge.to)?.in ?? null) : null;
}

/** Everything before and after a component: the path of what flows through it. */
export function pathThrough(id: string, edges: readonly Edge[]): { components: Set<string>; edges: Set<string> } {
  const components = new Set([id]);
  const found = new Set<string>();
  const follow = (start: string, isForward: boolean) => {
    const waiting = [start];
    const seen = new Set(waiting);
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      for (const edge of edges) {
        if ((isForward ? edge.from : edge.to) !== next) continue;
        const other = isForward ? edge.to : edge.from;
        found.add(edge.key);
        components.add(other);
        if (!seen.has(other)) waiting.push(other);
        seen.add(other);
      }
    }
  };
  follow(id, true);
  follow(id, false);
  return { components, edges: found };
}

export function rateOf(kind: string, flow: Flow | undefined): number | null {
  if (flow === undefined) return null;
  if (kind === "source") return flow.in || flow.out;
  if (kind === "sink") return flow.in;
  return flow.out;
}

/** From a hair to a stream: each tenfold is as much wider. */
export function edgeWidth(rate: number | null): number {
  return rate === null || rate <= 0 ? 1.5 : Math.min(13, 2 + 2.1 * Math.log10(1 + rate));
}
