/** The time that charts cover: `range=6h`, or `from` and `to` in milliseconds, in the address. */

import type { Query } from "../state/route.ts";

export const RANGES = [
  ["1h", "1 h", 3_600_000],
  ["6h", "6 h", 6 * 3_600_000],
  ["24h", "24 h", 86_400_000],
  ["7d", "7 d", 7 * 86_400_000],
  ["90d", "90 d", 90 * 86_400_000],
] as const;

export interface TimeRange {
  from: number;
  to: number;
  /** The name of a range that ends now; undefined for a free one. */
  name: string | undefined;
}

/** Shorter ranges have no second minute. */
const MIN_FREE_MS = 5 * 60_000;

export function readRange(query: URLSearchParams, now: number, standard = "6h"): TimeRange {
  const from = Number(query.get("from"));
  const to = Number(query.get("to"));
  if (from > 0 && to > from) return { from, to, name: undefined };
  const name = query.get("range") ?? standard;
  const length = (RANGES.find(([known]) => known === name) ?? RANGES[1])[2];
  return { from: now - length, to: now, name };
}

export function namedRange(name: string): Query {
  return { range: name, from: undefined, to: undefined };
}

export function freeRange(from: number, to: number): Query {
  const middle = (from + to) / 2;
  const half = Math.max(to - from, MIN_FREE_MS) / 2;
  return { range: undefined, from: String(Math.round(middle - half)), to: String(Math.round(middle + half)) };
}
