/** A chart with its value in words, and the same as a table. It is drawn when it comes into view. */

import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { byteRate, bytes } from "../format/numbers.ts";
import { moment } from "../format/times.ts";
import { setQuery } from "../state/route.ts";
import { isDark } from "../state/theme.ts";
import { makePlot, type Series } from "./plot.ts";
import { freeRange } from "./range.ts";

export interface ChartProps {
  title: string;
  times: readonly number[];
  series: readonly Series[];
  format: (value: number | null | undefined) => string;
  max?: number | undefined;
  range: { from: number; to: number };
}

export function Chart({ title, times, series, format, max, range }: ChartProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [isInView, setInView] = useState(false);
  const [isTable, setTable] = useState(false);
  const [cursor, setCursor] = useState<{ seconds: number; values: (number | null)[] } | undefined>(undefined);
  const [width, setWidth] = useState(0);

  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const seen = new IntersectionObserver(([entry]) => setInView(entry?.isIntersecting ?? false), {
      rootMargin: "120px",
    });
    const sized = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    seen.observe(element);
    sized.observe(element);
    return () => {
      seen.disconnect();
      sized.disconnect();
    };
  }, [isTable]);

  useEffect(() => {
    const element = frame.current;
    if (element === null || !isInView || isTable || width === 0) return;
    const onZoom = (from: number, to: number) => setQuery(freeRange(from, to));
    const plot: uPlot = makePlot(element, {
      times,
      series,
      format,
      max,
      isBinary: format === bytes || format === byteRate,
      range,
      onZoom,
      onCursor: setCursor,
    });
    return () => plot.destroy();
  }, [times, series, isInView, isTable, width, isDark.value]);

  const shown = cursor?.values ?? series.map(({ values }) => values.findLast((value) => value !== null) ?? null);
  const peaks = series.map(({ values, highs = values }) =>
    highs.reduce<number>((highest, value) => Math.max(highest, value ?? highest), Number.NEGATIVE_INFINITY),
  );
  return (
    <figure class="card chart" aria-label={title}>
      <figcaption class={series.length > 2 ? "is-many" : undefined}>
        <span class="chart-title">{title}</span>
        <span class="chart-values">
          {series.map(({ label, tone }, index) => (
            <span key={label} class="chart-value">
              <span class="swatch" style={{ background: `var(--${tone})` }} aria-hidden="true" />
              {series.length > 1 && <span class="faint">{label}</span>}
              <strong>{format(shown[index])}</strong>
              {cursor === undefined && series.length < 3 && <span class="faint">max {format(peaks[index])}</span>}
            </span>
          ))}
          {cursor !== undefined && <span class="faint">{moment(cursor.seconds * 1_000)}</span>}
        </span>
        <button type="button" class="quiet small" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
          {isTable ? "Chart" : "Table"}
        </button>
      </figcaption>
      {isTable ? (
        <ValueTable title={title} times={times} series={series} format={format} />
      ) : (
        <div ref={frame} class="chart-frame" />
      )}
    </figure>
  );
}

/** Rows of the table; a chart of 24 hours has 1440 values. */
const MAX_ROWS = 1_500;

function ValueTable({ title, times, series, format }: Pick<ChartProps, "title" | "times" | "series" | "format">) {
  const rows = times
    .map((seconds, index) => ({ seconds, index }))
    .slice(-MAX_ROWS)
    .reverse();
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section class="chart-table" tabIndex={0} aria-label={`${title} as a table`}>
      <table class="plain-table">
        <thead>
          <tr>
            <th scope="col">Time</th>
            {series.map(({ label }) => (
              <th key={label} scope="col" class="right">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ seconds, index }) => (
            <tr key={seconds}>
              <td>{moment(seconds * 1_000)}</td>
              {series.map(({ label, values }) => (
                <td key={label} class="right">
                  {format(values[index])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
