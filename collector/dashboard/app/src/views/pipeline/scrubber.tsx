/** Moves the graph through time: the events of the range are its ground, with errors and gaps on it. */

import { useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { toGrid } from "../../charts/grid.ts";
import { clockTime, day, exact } from "../../format/times.ts";
import { now } from "../../state/clock.ts";
import { route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { useQuery } from "../../ui/use_query.ts";

const MINUTE = 60_000;
const LENGTHS: readonly [string, string, number][] = [
  ["1h", "1 h", 60],
  ["6h", "6 h", 360],
  ["24h", "24 h", 1_440],
  ["7d", "7 d", 10_080],
];
const PLACES = 240;

export function Scrubber({ id, node, at }: { id: string; node: string | undefined; at: number | undefined }) {
  const name = route.value.query.get("past") ?? "1h";
  const minutes = (LENGTHS.find(([known]) => known === name) ?? LENGTHS[0])?.[2] ?? 60;
  const to = Math.floor(now.value / MINUTE) * MINUTE;
  const from = to - minutes * MINUTE;
  const history = useQuery(
    `scrubber ${id} ${node} ${name}`,
    async (signal) => {
      const step = minutes > 1_440 ? "hour" : "minute";
      return queries.pipelineMinutes(
        id,
        { node, environment: environment.value, from: Date.now() - minutes * MINUTE, step },
        { signal },
      );
    },
    MINUTE,
  );
  const ground = useMemo(
    () => (history.data === undefined ? undefined : drawGround(history.data.items, history.data.step, from, to)),
    [history.data, from, to],
  );
  const move = (value: number) => setQuery({ at: value >= to ? undefined : String(value) });
  return (
    <div class="scrubber">
      <button
        type="button"
        class="live-button"
        aria-pressed={at === undefined}
        onClick={() => setQuery({ at: undefined })}
      >
        <span class="dot" aria-hidden="true" />
        Live
      </button>
      <div class="scrubber-track">
        {ground}
        <input
          type="range"
          aria-label="Time of the graph"
          aria-valuetext={at === undefined ? "Live" : exact(at)}
          min={from}
          max={to}
          step={MINUTE}
          value={at ?? to}
          onInput={({ currentTarget }) => move(currentTarget.valueAsNumber)}
        />
      </div>
      <div class="scrubber-time">
        <strong title={at === undefined ? undefined : exact(at)}>
          {at === undefined ? "Now" : `${day(at) === day(now.value) ? "" : `${day(at)} `}${clockTime(at, false)}`}
        </strong>{" "}
        <select
          aria-label="Length of the slider"
          class="small"
          value={name}
          onChange={({ currentTarget }) => setQuery({ past: currentTarget.value, at: undefined })}
        >
          {LENGTHS.map(([value, title]) => (
            <option key={value} value={value}>
              {title}
            </option>
          ))}
        </select>
      </div>
    </div>
  );
}

interface Item {
  at: number;
  eventsIn: number;
  errors: number;
}

function drawGround(items: readonly Item[], step: string, from: number, to: number) {
  const grid = toGrid(items, step, from, to, to);
  const top = Math.max(1, ...items.map(({ eventsIn }) => eventsIn));
  const width = PLACES / Math.max(1, grid.items.length);
  return (
    <svg viewBox={`0 0 ${PLACES} 44`} preserveAspectRatio="none" aria-hidden="true">
      {grid.items.map((item, index) => {
        const x = (((grid.times[index] ?? 0) * 1_000 - from) / (to - from)) * PLACES;
        if (item === undefined) return <rect key={x} x={x} y={0} width={width} height={44} class="scrub-gap" />;
        const height = Math.max(1, (item.eventsIn / top) * 36);
        const bar = Math.max(0.2, width * 0.86);
        return (
          <g key={x}>
            <rect x={x} y={40 - height} width={bar} height={height} class="scrub-bar" />
            {item.errors > 0 && <rect x={x} y={41} width={bar} height={3} class="scrub-error" />}
          </g>
        );
      })}
    </svg>
  );
}
