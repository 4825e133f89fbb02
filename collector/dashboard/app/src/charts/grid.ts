/** Items of a history on an even grid, so that a time without an item is a gap and not a straight line. */

export const STEP_MS: Readonly<Record<string, number>> = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

export interface Grid<T> {
  /** Unix seconds, as the chart takes them. */
  times: number[];
  items: (T | undefined)[];
  /** How long each of them lasts; the one that runs lasts until now. */
  seconds: number[];
}

/** Two reports: a minute that is just over lacks its last one. */
const LATE_MS = 10_000;

/** A minute that runs is left out: its few reports say nothing about a rate. An hour or day that runs is kept. */
export function toGrid<T extends { at: number }>(
  items: readonly T[],
  step: string,
  from: number,
  to: number,
  now: number,
): Grid<T> {
  const stepMs = STEP_MS[step] ?? 60_000;
  const byTime = new Map(items.map((item) => [item.at, item]));
  const first = Math.floor(from / stepMs) * stepMs;
  const times: number[] = [];
  const found: (T | undefined)[] = [];
  const seconds: number[] = [];
  for (let at = first; at < to; at += stepMs) {
    const isRunning = at + stepMs > now - LATE_MS;
    // One that has just begun has no report yet, which is no gap.
    if (isRunning && (step === "minute" || !byTime.has(at))) break;
    times.push(at / 1_000);
    found.push(byTime.get(at));
    seconds.push((isRunning ? Math.max(now - at, 60_000) : stepMs) / 1_000);
  }
  return { times, items: found, seconds };
}

export type Values = (number | null)[];

export interface Band {
  mean: Values;
  low: Values;
  high: Values;
}

/**
 * Means of `size` neighbours with the lowest and the highest of them, so that a peak survives. Of an hour or a day the
 * collector knows the lowest and the highest minute.
 */
export function condense(values: Values, size: number, lows = values, highs = values): Band {
  if (size <= 1) return { mean: values, low: lows, high: highs };
  const band: Band = { mean: [], low: [], high: [] };
  for (let from = 0; from < values.length; from += size) {
    const known = (all: Values) => all.slice(from, from + size).filter((value) => value !== null);
    const means = known(values);
    const isEmpty = means.length === 0;
    band.mean.push(isEmpty ? null : means.reduce((sum, value) => sum + value, 0) / means.length);
    band.low.push(isEmpty ? null : Math.min(...known(lows)));
    band.high.push(isEmpty ? null : Math.max(...known(highs)));
  }
  return band;
}

export function everyNth<T>(values: readonly T[], size: number): T[] {
  return size <= 1 ? [...values] : values.filter((_, index) => index % size === 0);
}
