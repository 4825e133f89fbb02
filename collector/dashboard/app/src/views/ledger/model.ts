/**
 * What went in, what came out, and what is not accounted for, by hour or day.
 *
 * A time of up to a day is counted by minutes, which shows each minute without a report; longer times by the exact sums of
 * hours. Reports that come late are in the minute to which they belong, so a row is right once its nodes are back.
 */

import type { PipelineMinute } from "@systole/client";

export interface LedgerRow {
  at: number;
  /** Its length. */
  ms: number;
  in: number;
  out: number;
  discarded: number;
  errors: number;
  /** Reports whose scrape failed: something was not counted. */
  gaps: number;
  /** Minutes without any report; undefined where only hours are known. */
  missingMinutes: number | undefined;
  restarts: number;
  /** The share of events that was not discarded; null without events. */
  kept: number | null;
}

const MINUTE = 60_000;

function emptyRow(at: number, ms: number, isByMinute: boolean): LedgerRow {
  return {
    at,
    ms,
    in: 0,
    out: 0,
    discarded: 0,
    errors: 0,
    gaps: 0,
    missingMinutes: isByMinute ? 0 : undefined,
    restarts: 0,
    kept: null,
  };
}

/** Rows of `rowMs` from `from` to `to`, out of minutes or hours. */
export function toLedger(
  items: readonly PipelineMinute[],
  step: string,
  from: number,
  to: number,
  rowMs: number,
): LedgerRow[] {
  const isByMinute = step === "minute";
  const rows = new Map<number, LedgerRow & { minutes: number }>();
  for (let at = Math.floor(from / rowMs) * rowMs; at < to; at += rowMs)
    rows.set(at, { ...emptyRow(at, rowMs, isByMinute), minutes: 0 });
  for (const item of items) {
    const row = rows.get(Math.floor(item.at / rowMs) * rowMs);
    if (row === undefined) continue;
    row.in += item.eventsIn;
    row.out += item.eventsOut;
    row.discarded += item.discarded;
    row.errors += item.errors;
    row.gaps += item.gaps;
    row.restarts += item.resets;
    if (item.samples > 0) row.minutes += 1;
  }
  return [...rows.values()].map(({ minutes, ...row }) => {
    // The first and the last row are only partly in the time; the minute that runs is not over.
    const covered = Math.min(row.at + rowMs, Math.floor(to / MINUTE) * MINUTE) - Math.max(row.at, from);
    const expected = Math.max(0, Math.floor(covered / MINUTE));
    return { ...row, missingMinutes: isByMinute ? Math.max(0, expected - minutes) : undefined, kept: keptOf(row) };
  });
}

export function keptOf({ in: received, discarded }: { in: number; discarded: number }): number | null {
  return received === 0 ? null : Math.max(0, 1 - discarded / received);
}

export function sumRows(rows: readonly LedgerRow[]): LedgerRow {
  const sum = emptyRow(
    rows[0]?.at ?? 0,
    0,
    rows.some(({ missingMinutes }) => missingMinutes !== undefined),
  );
  for (const row of rows) {
    sum.ms += row.ms;
    sum.in += row.in;
    sum.out += row.out;
    sum.discarded += row.discarded;
    sum.errors += row.errors;
    sum.gaps += row.gaps;
    sum.restarts += row.restarts;
    if (sum.missingMinutes !== undefined) sum.missingMinutes += row.missingMinutes ?? 0;
  }
  sum.kept = keptOf(sum);
  return sum;
}

export function toCsv(id: string, rows: readonly LedgerRow[]): string {
  const head = "pipeline,from,to,in,out,discarded,errors,failedScrapes,minutesWithoutReport,restarts,kept";
  const lines = rows.map((row) =>
    [
      id,
      new Date(row.at).toISOString(),
      new Date(row.at + row.ms).toISOString(),
      row.in,
      row.out,
      row.discarded,
      row.errors,
      row.gaps,
      row.missingMinutes ?? "",
      row.restarts,
      row.kept ?? "",
    ]
      .map(quote)
      .join(","),
  );
  return `${[head, ...lines].join("\r\n")}\r\n`;
}

function quote(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
