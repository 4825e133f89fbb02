/** The states of a node and its pipelines, or of a pipeline on its nodes, as lanes over a time. */

import type { NumberedStatusChange } from "@systole/client";
import { useMemo } from "preact/hooks";
import { queries } from "../api/http.ts";
import type { TimeRange } from "../charts/range.ts";
import { clockTime, day, duration, exact } from "../format/times.ts";
import { toneOf, wordOf } from "../state/status.ts";
import { Failure } from "../ui/empty.tsx";
import { Shape } from "../ui/status.tsx";
import { useQuery } from "../ui/use_query.ts";

export interface Lane {
  /** The pipeline's id on a node (empty for the node), or the node's id of a pipeline. */
  key: string;
  title: string;
  /** The state now. */
  status: string;
}

interface Segment {
  from: number;
  to: number;
  status: string;
  reason: string;
}

const PAGE = 1_000;
const REFRESH_MS = 15_000;
const MAX_LANES = 40;

export function StatusTimeline({
  node,
  pipeline,
  range,
  lanes,
}: {
  node?: string;
  pipeline?: string;
  range: TimeRange;
  lanes: readonly Lane[];
}) {
  const key = `changes ${node} ${pipeline} ${range.name ?? `${range.from} ${range.to}`}`;
  const changes = useQuery(
    key,
    (signal) =>
      queries.statusChanges(
        { node, pipeline, from: Math.round(range.from), to: Math.round(range.to), order: "desc", limit: PAGE },
        { signal },
      ),
    REFRESH_MS,
  );
  const items = changes.data?.items;
  const laneOf = (change: NumberedStatusChange) => (pipeline === undefined ? (change.pipelineId ?? "") : change.nodeId);
  const rows = useMemo(() => {
    const byLane = new Map<string, NumberedStatusChange[]>();
    for (const change of items ?? []) byLane.set(laneOf(change), [...(byLane.get(laneOf(change)) ?? []), change]);
    return lanes
      .slice(0, MAX_LANES)
      .map((lane) => ({ lane, segments: toSegments(byLane.get(lane.key) ?? [], lane.status, range) }));
  }, [items, lanes, Math.floor(range.to / 10_000), range.from]);
  if (changes.error !== undefined && items === undefined)
    return <Failure error={changes.error} retry={changes.reload} />;
  const length = range.to - range.from;
  return (
    <div class="card timeline">
      {rows.map(({ lane, segments }) => (
        <div key={lane.key} class="lane">
          <span class="lane-title" title={lane.title}>
            <Shape tone={toneOf(lane.status)} size={10} /> {lane.title}
          </span>
          <span class="lane-bar" role="img" aria-label={`${lane.title}: ${describeSegments(segments)}`}>
            {segments.map(({ from, to, status, reason }) => (
              <span
                key={from}
                class={`segment fill-${toneOf(status)}`}
                style={{
                  left: `${((from - range.from) / length) * 100}%`,
                  width: `max(2px, ${((to - from) / length) * 100}%)`,
                }}
                title={`${wordOf(status)} for ${duration(to - from)}, from ${exact(from)}${reason === "" ? "" : `\n${reason}`}`}
              />
            ))}
          </span>
        </div>
      ))}
      <div class="lane axis faint">
        <span />
        <span class="lane-axis">
          {[0, 0.25, 0.5, 0.75, 1].map((share) => (
            <span key={share}>{axisTime(range.from + share * length, length)}</span>
          ))}
        </span>
      </div>
      {lanes.length > MAX_LANES && <p class="faint">{lanes.length - MAX_LANES} more are not shown.</p>}
    </div>
  );
}

function axisTime(at: number, length: number): string {
  return length > 2 * 86_400_000 ? day(at).slice(5) : clockTime(at, false);
}

/** `changes` are newest first. */
function toSegments(changes: readonly NumberedStatusChange[], status: string, range: TimeRange): Segment[] {
  const real = changes.filter(({ fromStatus, toStatus }) => fromStatus !== toStatus);
  const segments: Segment[] = [];
  let to = range.to;
  for (const change of real) {
    const from = Math.min(Math.max(change.timestamp, range.from), to);
    segments.push({ from, to, status: change.toStatus, reason: change.reason });
    to = from;
  }
  const first = real.at(-1);
  // Before its first report there is nothing.
  if (first === undefined || first.fromStatus !== "UNKNOWN")
    segments.push({ from: range.from, to, status: first?.fromStatus ?? status, reason: "" });
  return segments.reverse();
}

function describeSegments(segments: readonly Segment[]): string {
  const last = segments.at(-1);
  const troubled = segments.filter(({ status }) => ["bad", "lost", "warn"].includes(toneOf(status)));
  const length = troubled.reduce((sum, { from, to }) => sum + to - from, 0);
  return `${wordOf(last?.status ?? "UNKNOWN")} now, ${troubled.length === 0 ? "no trouble" : `in trouble for ${duration(length)}`} in this time`;
}
