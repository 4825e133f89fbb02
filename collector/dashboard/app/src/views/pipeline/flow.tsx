/** The graph, live or at a past minute, and the nodes on which the pipeline runs. */

import type { ComponentMinute } from "@systole/client";
import { useMemo } from "preact/hooks";
import { readGraph } from "../../api/control.ts";
import { queries } from "../../api/http.ts";
import { milliseconds, rate } from "../../format/numbers.ts";
import { FlowGraph } from "../../graph/graph.tsx";
import { type Frame, graphFrame, liveFrame, minuteFrame, shapeOf } from "../../graph/model.ts";
import { collectorNow } from "../../state/clock.ts";
import { latestOf, liveVersion } from "../../state/live.ts";
import { route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { Empty } from "../../ui/empty.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { areFollowed } from "./model.ts";
import { NodesTable } from "./nodes.tsx";
import type { TabProps } from "./pipeline.tsx";
import { Scrubber } from "./scrubber.tsx";

const GRAPH_EVERY_MS = 15_000;
/** Of many nodes the collector's own sums are shown, as often as they change. */
const SUMS_EVERY_MS = 5_000;
const MINUTE = 60_000;
/** Minutes around a past moment that are read at once, so that the slider moves without waiting. */
const CHUNK_MS = 10 * MINUTE;

export function FlowTab({ pipeline, node }: TabProps) {
  const { query } = route.value;
  const id = pipeline.id;
  const at = Number(query.get("at")) || undefined;
  const selected = query.get("component") ?? undefined;
  const scope = { node, environment: environment.value };
  const isFollowed = node !== undefined || areFollowed(pipeline);
  const graph = useQuery(
    `graph ${id} ${node}`,
    (signal) => readGraph(id, scope, signal),
    isFollowed ? GRAPH_EVERY_MS : SUMS_EVERY_MS,
  );
  const hour = useQuery(
    `hour ${id} ${node}`,
    (signal) => queries.componentMinutes(id, { ...scope, from: "-1h", step: "minute" }, { signal }),
    MINUTE,
  );
  const chunk = at === undefined ? undefined : Math.floor(at / CHUNK_MS) * CHUNK_MS;
  const past = useQuery(chunk === undefined ? undefined : `past ${id} ${node} ${chunk}`, (signal) =>
    queries.componentMinutes(
      id,
      { ...scope, from: chunk ?? 0, to: (chunk ?? 0) + CHUNK_MS, step: "minute" },
      { signal },
    ),
  );
  void liveVersion.value;
  const on = node === undefined ? pipeline.on : pipeline.on.filter(({ nodeId }) => nodeId === node);
  const samples = on.map(({ nodeId }) => latestOf(nodeId, id)?.components ?? []);
  const known = samples.find((components) => components.length > 0) ?? componentsOf(hour.data?.items ?? []);
  const shape = useMemo(() => shapeOf(graph.data, known), [graph.data, known.length]);
  const minute = at === undefined ? undefined : Math.floor(at / MINUTE) * MINUTE;
  const live = liveFrame(isFollowed ? samples : []);
  const now = live.size > 0 ? live : graphFrame(graph.data?.components ?? []);
  const frame: Frame = minute === undefined ? now : minuteFrame(past.data?.items ?? [], minute);
  const history = useMemo(() => historyOf(hour.data?.items ?? []), [hour.data]);
  const fills = useMemo(() => {
    const known = minute === undefined ? (graph.data?.components ?? []) : (past.data?.items ?? []);
    const ofTime = known.filter((item) => !("at" in item) || item.at === minute);
    return new Map(
      ofTime.flatMap(({ componentId, bufferFill }) => (bufferFill == null ? [] : [[componentId, bufferFill]])),
    );
  }, [graph.data, past.data, minute]);
  const isGap = minute !== undefined && past.data !== undefined && frame.size === 0;
  return (
    <>
      <div class="card flow">
        {shape.components.length === 0 ? (
          <Empty title="No component is known yet" command="systole-agent status">
            The agent reads components from the engine's metrics; a pipeline without a metrics address has none.
          </Empty>
        ) : (
          <FlowGraph
            shape={shape}
            frame={frame}
            fills={fills}
            history={history}
            selected={selected}
            onSelect={(component) => setQuery({ component })}
          />
        )}
        {shape.components.length > 0 && shape.edges.length === 0 && graph.data !== undefined && (
          <p class="flow-note faint">
            The connections are not known: no agent has read the configuration of this engine.
          </p>
        )}
        {isGap && <p class="flow-note">No report covers this minute.</p>}
        {selected !== undefined && (
          <Selected
            id={selected}
            frame={frame}
            kind={shape.components.find(({ componentId }) => componentId === selected)?.kind ?? ""}
          />
        )}
        <Scrubber id={id} node={node} at={minute} />
      </div>
      <section>
        <h2 class="section-title">Nodes</h2>
        <NodesTable pipeline={pipeline} />
      </section>
    </>
  );
}

/** Components by their stored minutes, for a pipeline that reports no more. */
function componentsOf(items: readonly ComponentMinute[]) {
  const nothing = {
    timestamp: 0,
    receivedEventsRate: 0,
    sentEventsRate: 0,
    receivedBytesRate: 0,
    sentBytesRate: 0,
    errorCount: 0,
    errorsRate: 0,
    discardedRate: 0,
    latencyMeanMs: null,
  };
  return [
    ...new Map(items.map(({ componentId, kind }) => [componentId, { componentId, kind, sample: nothing }])).values(),
  ];
}

function historyOf(all: readonly ComponentMinute[]): ReadonlyMap<string, (number | null)[]> {
  // The minute that runs has only a part of its events.
  const running = Math.floor(collectorNow() / MINUTE) * MINUTE;
  const items = all.filter(({ at }) => at < running);
  const times = [...new Set(items.map(({ at }) => at))].sort();
  const first = times[0] ?? 0;
  const count = times.length === 0 ? 0 : ((times.at(-1) ?? first) - first) / MINUTE + 1;
  const history = new Map<string, (number | null)[]>();
  for (const { at, componentId, kind, receivedEvents, sentEvents } of items) {
    const values = history.get(componentId) ?? new Array<number | null>(count).fill(null);
    values[(at - first) / MINUTE] = kind === "sink" || kind === "source" ? receivedEvents || sentEvents : sentEvents;
    history.set(componentId, values);
  }
  return history;
}

function Selected({ id, frame, kind }: { id: string; frame: Frame; kind: string }) {
  const flow = frame.get(id);
  const facts: [string, string][] = [
    ["Received", rate(flow?.in)],
    ["Sent", rate(flow?.out)],
    ["Errors", rate(flow?.errors)],
    ["Discarded", rate(flow?.discarded)],
    ["Latency", milliseconds(flow?.latencyMs)],
  ];
  return (
    <div class="component-detail">
      <div>
        <strong>{id}</strong> <span class="faint">{kind}</span>
      </div>
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <button type="button" class="quiet small" onClick={() => setQuery({ component: undefined })}>
        Clear
      </button>
    </div>
  );
}
