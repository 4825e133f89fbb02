/**
 * What went in, what came out, and what is not accounted for, by hour or day.
 *
 * A time of up to a day is counted by minutes, which shows each minute without a report; longer times by the exact sums of
 * hours. Reports that come late are in the minute to which they belong, so a row is right once its nodes are back.
 */

import type { PipelineMinute } from "@systole/client";

/** Counts of a row, with the name that each has in the collector's minutes. */
const COUNTERS = {
  in: "eventsIn",
  out: "eventsOut",
  discarded: "discarded",
  errors: "errors",
  /** Reports whose scrape failed: something was not counted. */
  gaps: "gaps",
  restarts: "resets",
  reports: "reports",
  /** Reports that the agents made and that never came. */
  missing: "missingReports",
  /** Reports that came more than a minute after their minute. */
  late: "lateReports",
} as const;

type Counter = keyof typeof COUNTERS;
const NAMES = Object.keys(COUNTERS) as Counter[];

export interface LedgerRow extends Record<Counter, number> {
  at: number;
  /** Its length. */
  ms: number;
  /** Minutes without any report; undefined where only hours are known. */
  missingMinutes: number | undefined;
  /** The share of events that was not discarded; null without events. */
  kept: number | null;
}

const MINUTE = 60_000;

function emptyRow(at: number, ms: number, isByMinute: boolean): LedgerRow {
  const counts = Object.fromEntries(NAMES.map((name) => [name, 0])) as Record<Counter, number>;
  return { ...counts, at, ms, missingMinutes: isByMinute ? 0 : undefined, kept: null };
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
    for (const name of NAMES) row[name] += item[COUNTERS[name]];
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

/** Reports that the agents made, as far as the collector knows. */
export function expectedOf({ reports, missing }: LedgerRow): number {
  return reports + missing;
}

/** Whether nothing was reported, which is not the same as zero events. */
export function isSilent(row: LedgerRow): boolean {
  return row.reports === 0 && row.in === 0 && row.out === 0;
}

export function sumRows(rows: readonly LedgerRow[]): LedgerRow {
  const isByMinute = rows.some(({ missingMinutes }) => missingMinutes !== undefined);
  const sum = emptyRow(rows[0]?.at ?? 0, 0, isByMinute);
  for (const row of rows) {
    sum.ms += row.ms;
    for (const name of NAMES) sum[name] += row[name];
    if (sum.missingMinutes !== undefined) sum.missingMinutes += row.missingMinutes ?? 0;
  }
  sum.kept = keptOf(sum);
  return sum;
}

const CSV_HEAD =
  "pipeline,from,to,in,out,discarded,errors,failedScrapes,expectedReports,missingReports,lateReports,minutesWithoutReport,restarts,kept";

export function toCsv(id: string, rows: readonly LedgerRow[]): string {
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
      expectedOf(row),
      row.missing,
      row.late,
      row.missingMinutes ?? "",
      row.restarts,
      row.kept ?? "",
    ]
      .map(quote)
      .join(","),
  );
  return `${[CSV_HEAD, ...lines].join("\r\n")}\r\n`;
}

function quote(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
