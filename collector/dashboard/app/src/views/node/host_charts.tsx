import type { HostMinute } from "@systole/client";
import { useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { Chart } from "../../charts/chart.tsx";
import { toGrid, type Values } from "../../charts/grid.ts";
import type { Series } from "../../charts/plot.ts";
import type { TimeRange } from "../../charts/range.ts";
import { byteRate, bytes, percent, short } from "../../format/numbers.ts";
import { collectorNow } from "../../state/clock.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { useQuery } from "../../ui/use_query.ts";

const REFRESH_MS = 30_000;

export function HostCharts({ id, range }: { id: string; range: TimeRange }) {
  // A range that ends now moves with each minute.
  const minute = Math.floor(range.to / 60_000);
  const [from, to] =
    range.name === undefined ? [range.from, range.to] : [range.from - (range.to % 60_000), minute * 60_000 + 60_000];
  const key = `host ${id} ${range.name ?? `${from} ${to}`}`;
  const minutes = useQuery(
    key,
    async (signal) => ({
      ...(await queries.nodeMinutes(id, { from: Math.round(from), to: Math.round(to) }, { signal })),
      from,
      to,
      now: collectorNow(),
    }),
    REFRESH_MS,
  );
  const data = minutes.data;
  const charts = useMemo(() => (data === undefined ? undefined : makeCharts(data.items, data.step, data)), [data]);
  if (data === undefined || charts === undefined)
    return minutes.error === undefined ? <Loading /> : <Failure error={minutes.error} retry={minutes.reload} />;
  if (data.items.length === 0) {
    return (
      <div class="card">
        <Empty title="No minute of this host is stored in this time">Minutes are kept for 7 days, hours for 90.</Empty>
      </div>
    );
  }
  return (
    <div class="charts">
      {charts.map((chart) => (
        <Chart key={chart.title} {...chart} range={{ from: data.from, to: data.to }} />
      ))}
    </div>
  );
}

function makeCharts(
  items: readonly HostMinute[],
  step: string,
  { from, to, now }: { from: number; to: number; now: number },
) {
  const grid = toGrid(items, step, from, to, now);
  type Value = number | null | undefined;
  type Extreme = keyof NonNullable<HostMinute["max"]>;
  const values = (pick: (item: HostMinute) => Value): Values =>
    grid.items.map((item) => (item === undefined ? null : (pick(item) ?? null)));
  const extremes = (side: "min" | "max", of: Extreme, means: Values) =>
    grid.items.some((item) => item?.[side] != null)
      ? means.map((mean, index) => (mean === null ? null : (grid.items[index]?.[side]?.[of] ?? mean)))
      : undefined;
  const one = (
    label: string,
    tone: string,
    pick: (item: HostMinute) => Value,
    of: Extreme | undefined,
    isFilled = true,
  ): Series => {
    const means = values(pick);
    return {
      label,
      tone,
      isFilled,
      values: means,
      ...(of !== undefined && { lows: extremes("min", of, means), highs: extremes("max", of, means) }),
    };
  };
  const memoryTotal = items.findLast(({ memoryTotalBytes }) => memoryTotalBytes != null)?.memoryTotalBytes ?? undefined;
  return [
    {
      title: "Processor",
      times: grid.times,
      format: (value: number | null | undefined) => percent(value, 0),
      max: 1,
      series: [one("busy", "series-3", (item) => item.cpuUtilization, "cpuUtilization")],
    },
    {
      title: "Memory in use",
      times: grid.times,
      format: bytes,
      max: memoryTotal,
      series: [one("used", "accent", (item) => item.memoryUsedBytesMean ?? item.memoryUsedBytes, "memoryUsedBytes")],
    },
    {
      title: "Network",
      times: grid.times,
      format: byteRate,
      max: undefined,
      series: [
        one("received", "accent", (item) => item.netRxBytesPerSecond, "netRxBytesPerSecond", false),
        one("sent", "accent-2", (item) => item.netTxBytesPerSecond, "netTxBytesPerSecond", false),
      ],
    },
    {
      title: "Disk",
      times: grid.times,
      format: byteRate,
      max: undefined,
      series: [
        one("read", "accent", (item) => item.diskReadBytesPerSecond, "diskReadBytesPerSecond", false),
        one("written", "series-4", (item) => item.diskWrittenBytesPerSecond, "diskWrittenBytesPerSecond", false),
      ],
    },
    {
      title: "Load",
      times: grid.times,
      format: short,
      max: undefined,
      series: [one("1 minute", "series-3", (item) => item.loadAvg1Mean ?? item.loadAvg1, "loadAvg1")],
    },
    {
      title: "File systems in use",
      times: grid.times,
      format: bytes,
      max: items.at(-1)?.fsTotalBytes ?? undefined,
      series: [one("used", "series-4", (item) => item.fsUsedBytes, undefined)],
    },
  ];
}
