/** The history of a pipeline: its nodes summed, or each as a line of its own. */

import type { History, PipelineMinute } from "@systole/client";
import { useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { Chart } from "../../charts/chart.tsx";
import { type Grid, toGrid, type Values } from "../../charts/grid.ts";
import type { Series } from "../../charts/plot.ts";
import { readRange } from "../../charts/range.ts";
import { RangePicker } from "../../charts/range_picker.tsx";
import { byteRate, milliseconds, percent, rate } from "../../format/numbers.ts";
import { collectorNow, now } from "../../state/clock.ts";
import { route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { rankOf, toneOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { StatusTimeline } from "../timeline.tsx";
import type { TabProps } from "./pipeline.tsx";

const REFRESH_MS = 30_000;
/** Lines that an eye can keep apart. The nodes that are worst now come first. */
const MAX_LINES = 8;
const TONES = ["accent", "accent-2", "series-3", "series-4", "ok", "lost", "busy", "bad"];

interface Answered {
  from: number;
  to: number;
  step: string;
  /** When the answer came, by the collector's clock. */
  now: number;
  /** One for the sum, or one for each node. */
  lines: { label: string; items: PipelineMinute[] }[];
}

export function ChartsTab({ pipeline, node }: TabProps) {
  const range = readRange(route.value.query, now.value);
  const isByNode = node === undefined && route.value.query.get("by") === "node" && pipeline.on.length > 1;
  const shown = useMemo(
    () =>
      [...pipeline.on]
        .sort((one, other) => rankOf(toneOf(one.status)) - rankOf(toneOf(other.status)))
        .slice(0, MAX_LINES),
    [pipeline],
  );
  const key = `charts ${pipeline.id} ${node} ${isByNode ? shown.map(({ nodeId }) => nodeId).join() : ""} ${range.name ?? `${range.from} ${range.to}`}`;
  const answer = useQuery<Answered>(
    key,
    async (signal) => {
      const end = range.name === undefined ? range.to : Math.ceil(Date.now() / 60_000) * 60_000;
      const from = Math.round(end - (range.to - range.from));
      const ask = (of: string | undefined): Promise<History<PipelineMinute>> =>
        queries.pipelineMinutes(
          pipeline.id,
          { node: of, environment: environment.value, from, to: Math.round(end) },
          { signal },
        );
      if (!isByNode) {
        const { items, step } = await ask(node);
        return { from, to: end, step, now: collectorNow(), lines: [{ label: "", items }] };
      }
      const lines: Answered["lines"] = [];
      let step = "minute";
      for (const { nodeId, nodeName } of shown) {
        const history = await ask(nodeId);
        step = history.step;
        lines.push({ label: nodeName, items: history.items });
      }
      return { from, to: end, step, now: collectorNow(), lines };
    },
    REFRESH_MS,
  );
  const charts = useMemo(() => (answer.data === undefined ? [] : makeCharts(answer.data, isByNode)), [answer.data]);
  return (
    <>
      <div class="section-head">
        <fieldset class="segmented" aria-label="Nodes">
          {node === undefined && pipeline.on.length > 1 && (
            <>
              <button type="button" aria-pressed={!isByNode} onClick={() => setQuery({ by: undefined })}>
                Summed
              </button>
              <button type="button" aria-pressed={isByNode} onClick={() => setQuery({ by: "node" })}>
                Side by side
              </button>
            </>
          )}
          {isByNode && pipeline.on.length > MAX_LINES && (
            <span class="faint">the {MAX_LINES} nodes in the worst state</span>
          )}
        </fieldset>
        <RangePicker range={range} />
      </div>
      {answer.data === undefined ? (
        answer.error === undefined ? (
          <Loading />
        ) : (
          <Failure error={answer.error} retry={answer.reload} />
        )
      ) : answer.data.lines.every(({ items }) => items.length === 0) ? (
        <div class="card">
          <Empty title="Nothing is stored of this time">
            Minutes are kept for 7 days, hours for 90 days, days for 2 years.
          </Empty>
        </div>
      ) : (
        <div class="charts">
          {charts.map((chart) => (
            <Chart key={chart.title} {...chart} range={answer.data ?? range} />
          ))}
        </div>
      )}
      <section>
        <h2 class="section-title">States</h2>
        <StatusTimeline
          pipeline={pipeline.id}
          {...(node !== undefined && { node })}
          range={range}
          lanes={pipeline.on.map(({ nodeId, nodeName, status }) => ({ key: nodeId, title: nodeName, status }))}
        />
      </section>
    </>
  );
}

function makeCharts({ lines, step, from, to, now: at }: Answered, isByNode: boolean) {
  const grids = lines.map(({ label, items }) => ({ label, grid: toGrid(items, step, from, to, at) }));
  const times = grids.reduce<number[]>(
    (longest, { grid }) => (grid.times.length > longest.length ? grid.times : longest),
    [],
  );
  type Pick = (item: PipelineMinute, seconds: number) => number | null | undefined;
  type Counts = NonNullable<PipelineMinute["max"]>;
  /** The lowest or highest minute of each hour or day; where it is not known, the line itself. */
  const extremes = (grid: Grid<PipelineMinute>, side: "min" | "max", name: keyof Counts, means: Values) =>
    grid.items.some((item) => item?.[side] != null)
      ? means.map((mean, index) => {
          const counts = grid.items[index]?.[side];
          return mean === null || counts == null ? mean : counts[name] / 60;
        })
      : undefined;
  const toSeries = (label: string, tone: string, grid: Grid<PipelineMinute>, pick: Pick, of?: keyof Counts): Series => {
    const means = values(grid, pick);
    return {
      label,
      tone,
      values: means,
      ...(of !== undefined && { lows: extremes(grid, "min", of, means), highs: extremes(grid, "max", of, means) }),
    };
  };
  const values = (grid: Grid<PipelineMinute>, pick: Pick): Values =>
    times.map((_, index) => {
      const item = grid.items[index];
      // A minute in which each scrape failed has no value either.
      return item === undefined || item.samples === 0 ? null : (pick(item, grid.seconds[index] ?? 60) ?? null);
    });
  type Line = [label: string, tone: string, pick: Pick, of?: keyof Counts];
  const series = (...picks: Line[]): Series[] =>
    isByNode
      ? grids.flatMap(({ label, grid }, index) =>
          picks
            .slice(0, 1)
            .map(([, , pick, of]) => toSeries(label, TONES[index % TONES.length] ?? "accent", grid, pick, of)),
        )
      : picks.flatMap(([label, tone, pick, of]) =>
          grids
            .slice(0, 1)
            .map(({ grid }) => ({ ...toSeries(label, tone, grid, pick, of), isFilled: picks.length === 1 })),
        );
  const perSecond = (label: string, tone: string, of: keyof Counts): Line => [
    label,
    tone,
    (item, seconds) => item[of] / seconds,
    of,
  ];
  const chart = (
    title: string,
    format: (value: number | null | undefined) => string,
    list: Series[],
    max?: number,
  ) => ({ title, times, format, series: list, max });
  return [
    chart(
      isByNode ? "Events in" : "Events",
      rate,
      series(perSecond("in", "accent", "eventsIn"), perSecond("out", "accent-2", "eventsOut")),
    ),
    ...(isByNode ? [chart("Events out", rate, series(perSecond("out", "accent-2", "eventsOut")))] : []),
    chart("Errors", rate, series(perSecond("errors", "bad", "errors"))),
    chart("Discarded", rate, series(perSecond("discarded", "warn", "discarded"))),
    chart(
      isByNode ? "Bytes in" : "Bytes",
      byteRate,
      series(perSecond("in", "accent", "bytesIn"), perSecond("out", "accent-2", "bytesOut")),
    ),
    chart("Latency", milliseconds, series(["mean", "series-3", (item) => item.latencyMs])),
    chart(
      "Busiest component",
      (value: number | null | undefined) => percent(value),
      series(["utilization", "series-4", (item) => item.utilization]),
      1,
    ),
  ];
}
