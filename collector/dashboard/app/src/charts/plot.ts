/** uPlot with this page's colours: a mean with its band, gaps that are shaded, a shared cursor, and zoom by dragging. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clockTime, day } from "../format/times.ts";
import { colour } from "../state/theme.ts";
import { type Band, condense, everyNth, type Values } from "./grid.ts";

export interface Series {
  label: string;
  values: Values;
  /** The lowest and the highest within each value; undefined where a value is a minute. */
  lows?: Values | undefined;
  highs?: Values | undefined;
  /** A colour of the style sheet. */
  tone: string;
  isFilled?: boolean;
}

export interface PlotOptions {
  times: readonly number[];
  series: readonly Series[];
  format: (value: number | null | undefined) => string;
  /** The top of the scale is at least this. */
  max?: number | undefined;
  /** Whether values have units of 1024, so that steps of the scale are whole. */
  isBinary?: boolean | undefined;
  range: { from: number; to: number };
  onZoom?: ((from: number, to: number) => void) | undefined;
  /** The index of the values under the cursor, and their time; undefined when it leaves. */
  onCursor: (at: { seconds: number; values: (number | null)[] } | undefined) => void;
}

/** Points on a chart: two pixels each. */
const MAX_POINTS = 400;
const HEIGHT = 150;
/** Powers of two, up to 2 PiB. */
const BINARY_STEPS = Array.from({ length: 52 }, (_, power) => 2 ** power);

export function makePlot(element: HTMLElement, options: PlotOptions): uPlot {
  const { times, series, range } = options;
  const size = Math.ceil(times.length / MAX_POINTS);
  const bands = series.map(({ values, lows, highs }) => condense(values, size, lows, highs));
  const hasBand = size > 1 || series.some(({ highs }) => highs !== undefined);
  const x = everyNth(times, size);
  const data: uPlot.AlignedData = [
    x,
    ...bands.flatMap(({ mean, low, high }) => (hasBand ? [mean, high, low] : [mean])),
  ];
  const perSeries = hasBand ? 3 : 1;
  const drawn: uPlot.Series[] = [{}];
  const drawnBands: uPlot.Band[] = [];
  series.forEach(({ tone, isFilled }, index) => {
    const stroke = colour(tone);
    const first = 1 + index * perSeries;
    drawn.push({
      stroke,
      width: 1.5,
      spanGaps: false,
      points: { show: false },
      ...(isFilled === true && !hasBand && { fill: `${stroke}1f` }),
    });
    if (!hasBand) return;
    for (let side = 0; side < 2; side += 1) drawn.push({ width: 0, points: { show: false } });
    drawnBands.push({ series: [first + 1, first + 2], fill: `${stroke}33` });
  });
  const axis = {
    stroke: colour("faint"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: colour("border"), width: 1 },
    ticks: { show: false },
  };
  const isLong = range.to - range.from > 2 * 86_400_000;
  return new uPlot(
    {
      width: Math.max(200, element.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: {
        sync: { key: "time", setSeries: false },
        drag: { x: options.onZoom !== undefined, y: false, setScale: false },
        points: {
          size: 6,
          width: 0,
          fill: (_: uPlot, index: number) => colour(series[Math.floor((index - 1) / perSeries)]?.tone ?? "accent"),
        },
      },
      scales: {
        x: { range: [range.from / 1_000, range.to / 1_000] },
        y: {
          range: (_: uPlot, __: number, high: number) => [
            0,
            Math.max(options.max ?? 0, Number.isFinite(high) ? high * 1.08 : 0, 1e-6),
          ],
        },
      },
      axes: [
        {
          ...axis,
          size: 26,
          values: (_: uPlot, splits: number[]) =>
            splits.map((at) => (isLong ? day(at * 1_000).slice(5) : clockTime(at * 1_000, false))),
        },
        {
          ...axis,
          size: 58,
          space: 22,
          ...(options.isBinary === true && { incrs: BINARY_STEPS }),
          values: (_: uPlot, splits: number[]) => splits.map((value) => options.format(value)),
        },
      ],
      series: drawn,
      bands: drawnBands,
      hooks: {
        drawClear: [(plot) => shadeGaps(plot, x, bands)],
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width < 6 || options.onZoom === undefined) return;
            options.onZoom(plot.posToVal(left, "x") * 1_000, plot.posToVal(left + width, "x") * 1_000);
          },
        ],
        setCursor: [
          (plot) => {
            const { idx } = plot.cursor;
            const seconds = idx === null || idx === undefined ? undefined : x[idx];
            if (seconds === undefined || (plot.cursor.left ?? -1) < 0) return options.onCursor(undefined);
            options.onCursor({ seconds, values: bands.map(({ mean }) => mean[idx ?? 0] ?? null) });
          },
        ],
      },
    },
    data,
    element,
  );
}

/** A time without any value has a ground of its own, so that nothing measured does not look like zero. */
function shadeGaps(plot: uPlot, times: readonly number[], bands: readonly Band[]): void {
  const isGap = (index: number) => bands.every(({ mean }) => mean[index] === null);
  const step = (times[1] ?? 0) - (times[0] ?? 0);
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour("sunken");
  for (let index = 0; index < times.length; index += 1) {
    if (!isGap(index)) continue;
    const from = times[index] ?? 0;
    while (index + 1 < times.length && isGap(index + 1)) index += 1;
    const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos((times[index] ?? from) + step, "x", true));
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}
